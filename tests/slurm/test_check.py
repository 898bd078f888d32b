"""`python -m retune_workflow check` asks a real SLURM whether it can start the jobs."""

import pytest

from cluster_run import make_cluster_run

pytestmark = pytest.mark.slurm


@pytest.fixture
def new_run(cluster, tmp_path):
    """A run on the cluster of which nothing has been made."""
    return make_cluster_run(tmp_path / "job", cluster)


def check(run):
    """Return the exit code of the command, and what it prints."""
    packages = str(run.folder / "workflow")
    done = run.attempt("python", "-m", "retune_workflow", "check", PYTHONPATH=packages)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_jobs_that_the_cluster_can_start_are_no_error(new_run, cluster):
    code, shown = check(new_run)
    assert code == 0, shown
    assert "\nSLURM request   ok           10 jobs" in shown
    assert cluster.call("squeue", "-h") == ""
    assert not (new_run.folder / "data").exists()


def test_every_job_that_can_never_start_is_told_at_once(new_run, cluster):
    def change(profile):
        steps = profile["set-resources"]
        steps["prepare"] = {"slurm_partition": "gpux"}
        steps["finetune"] |= {"runtime": 121}
        steps["baseline"] |= {"gres": "gpu:a100:3"}
        steps["evaluate"] |= {"mem_mb": 64001}
        steps["sample"] |= {"constraint": "nvlink"}

    new_run.adapt(change)
    code, shown = check(new_run)
    assert code == 1
    told = [
        "  prepare: slurm_partition: gpux: there is no such partition; there are: cpu,"
        " gpu, low, high",
        "  baseline: gres: gpu:a100:3 on 1 node, but partition gpu has 0 with that; the"
        " most that one has: 2 GPUs, 64,000 MB, 8 CPUs",
        "  finetune: runtime: 121 minutes, but partition gpu allows 120",
        "  evaluate: mem_mb: 64001 on 1 node, but partition gpu has 0 with that; the"
        " most that one has: 2 GPUs, 64,000 MB, 8 CPUs",
        "  sample: SLURM would refuse its job: allocation failure: Invalid feature"
        " specification",
    ]
    assert sorted(shown.partition("5 errors:\n")[2].splitlines()) == sorted(told)
    assert cluster.call("squeue", "-h") == ""
