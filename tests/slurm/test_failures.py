"""What goes wrong on a cluster is told, and Snakemake ends."""

import time

import psutil
import pytest

from cluster_run import CHECKPOINT, use_one_gpu, wait_until

pytestmark = pytest.mark.slurm

LONG = {"max_steps": 5000, "epochs": 10000, "save_steps": 5, "eval_steps": 1000}
# A look at a job is at most so far from the next, in runs as short as these.
NOTICED_S = 150


@pytest.fixture(scope="module")
def ended(finished, tmp_path_factory):
    """Two runs at once: a rank of the one is killed, the other's job is cancelled.

    Returns for each the run, its job, the exit code and what was shown.
    """
    folder = tmp_path_factory.mktemp("ended")
    runs = {name: finished.copy(folder / name) for name in ("killed", "cancelled")}
    for run in runs.values():
        run.change("finetune", **LONG)
        use_one_gpu(run)
    processes = {name: run.start(CHECKPOINT) for name, run in runs.items()}
    try:
        for name, run in runs.items():
            wait_until(run.newest_step, processes[name])
        jobs = {name: run.job() for name, run in runs.items()}
        rank_of(runs["killed"], 3).kill()
        finished.cluster.call("scancel", jobs["cancelled"])
        shown = {
            name: process.communicate(timeout=NOTICED_S)[0]
            for name, process in processes.items()
        }
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return {
        name: (run, jobs[name], processes[name].returncode, shown[name])
        for name, run in runs.items()
    }


def rank_of(run, number):
    """Return the process of a rank."""
    for process in psutil.process_iter(["cmdline", "cwd", "environ"]):
        found = process.info
        is_rank = "retune.training.rank" in (found["cmdline"] or [])
        is_own = is_rank and found["cwd"] == str(run.folder)
        if is_own and found["environ"].get("RANK") == str(number):
            return process
    raise AssertionError(f"no rank {number}")


def test_a_rank_that_dies_on_the_second_node_is_named(ended):
    run, _, code, shown = ended["killed"]
    assert code == 1
    assert "rank 3 was killed by SIGKILL in step" in shown, shown
    assert run.newest_step()


def test_a_job_that_is_cancelled_ends_the_run(ended):
    run, job, code, shown = ended["cancelled"]
    assert code == 1, shown
    assert "CANCELLED" in shown
    assert run.state_of(job) == "CANCELLED"
    assert "stopped at step" in run.log()


def refuse(run, **resources):
    """Run with other requests; return what Snakemake says, and how long it took."""
    run.change("finetune", **LONG)
    run.adapt(lambda profile: profile["set-resources"]["finetune"].update(**resources))
    start = time.monotonic()
    process = run.start(CHECKPOINT)
    shown, _ = process.communicate(timeout=NOTICED_S)
    assert process.returncode == 1, shown
    return shown, time.monotonic() - start


def test_a_request_that_no_node_can_meet_is_refused_at_once(run):
    shown, seconds = refuse(run, gres="gpu:9")
    assert "Requested node configuration is not available" in shown
    assert seconds < 30


def test_a_job_that_can_never_start_is_not_waited_for(run):
    shown, seconds = refuse(run, runtime=600)
    assert "can never start (PartitionTimeLimit)" in shown
    assert seconds < 90
    assert not run.cluster.call("squeue", "-h")
