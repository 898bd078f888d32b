"""A training whose job is preempted, requeued and timed out ends as an undisturbed one.

Another one runs beside it, of the same settings: they must not disturb each other.
"""

import pytest

from cluster_run import CHECKPOINT, no_waiting_after_requeue, wait_until

pytestmark = pytest.mark.slurm

STEPS = {"max_steps": 400, "epochs": 1000, "save_steps": 5, "eval_steps": 100}


def restarted(run, process, before):
    """Wait until a run goes on after it was stopped; return where."""
    path = f"state/{state_name(run)}/started.json"
    wait_until(lambda: run.read(path)["step"] > before, process)
    return run.read(path)["step"]


def state_name(run):
    [folder] = [path for path in run.folder.glob("state/*") if path.is_dir()]
    return folder.name


def preempt(run, process):
    """Have a job of more weight take both nodes for a moment."""
    run.cluster.call(
        *("sbatch", "-p", "high", "--nodes=2", "--exclusive", "--wrap", "sleep 1"),
        *("--output", "/dev/null"),
    )


def requeue(run, process):
    """Queue the job again, as an administrator does."""
    run.cluster.call("scontrol", "requeue", run.job())


def shorten(run, process):
    """Give the job a time limit of less than two minutes from now."""
    job = run.job()
    minutes = run.cluster.call("squeue", "-h", "-j", job, "-o", "%M").split(":")[0]
    limit = int(minutes) + 2
    run.cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")


def test_it_ends_as_the_undisturbed_one(finished, tmp_path):
    disturbed, other = (finished.copy(tmp_path / name) for name in ("one", "other"))
    here = finished.copy(tmp_path / "here")
    for run in (disturbed, other, here):
        run.change("finetune", **STEPS)
    for run in (disturbed, other):
        run.adapt(
            lambda profile: profile["set-resources"]["finetune"].update(gres="gpu:1")
        )
    disturbed.adapt(
        lambda profile: profile["set-resources"]["finetune"].update(
            slurm_partition="low", slurm_extra="--signal=USR1@30"
        )
    )
    here.change("hardware", nodes=1, gpus_per_node=4)
    processes = []
    try:
        with no_waiting_after_requeue(finished.cluster):
            process = disturbed.start(CHECKPOINT)
            processes.append(process)
            at = []
            for disturb in (preempt, requeue, shorten):
                before = disturbed.newest_step()
                wait_until(lambda b=before: disturbed.newest_step() > b, process)
                disturb(disturbed, process)
                at.append(restarted(disturbed, process, max(at, default=0)))
            print(f"went on at steps {at}")
            processes.append(other.start(CHECKPOINT))
            shown = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], shown
    here("snakemake", "--cores", "4", "--", CHECKPOINT)
    for run in (disturbed, other):
        assert run.history() == here.history()
        assert run.weights() == here.weights()
