"""A training whose job is preempted, requeued and timed out ends as an undisturbed one.

Another run goes on beside it: they must not disturb each other.
"""

import shutil

import pytest

from cluster_run import CHECKPOINT, no_waiting_after_requeue, use_one_gpu, wait_until

pytestmark = pytest.mark.slurm

# As many as take SLURM longer than the half minute between two looks at time limits.
STEPS = {"max_steps": 700, "epochs": 1000, "save_steps": 5, "eval_steps": 350}


def restarted(run, process, before):
    """Wait until a run goes on after it was stopped; return where."""
    path = f"state/{state_name(run)}/started.json"
    wait_until(lambda: run.read(path)["step"] > before, process)
    return run.read(path)["step"]


def state_name(run):
    [folder] = [path for path in run.folder.glob("state/*") if path.is_dir()]
    return folder.name


def preempt(run):
    """Have a job of more weight take CPUs of both nodes for a moment."""
    run.cluster.call(
        *("sbatch", "-p", "high", "--nodes=2", "--wrap", "sleep 1"),
        *("--output", "/dev/null"),
    )


def requeue(run):
    """Queue the job again, as an administrator does."""
    run.cluster.call("scontrol", "requeue", run.job())


def shorten(run):
    """Give the job a time limit of less than two minutes from now."""
    job = run.job()
    minutes = run.cluster.call("squeue", "-h", "-j", job, "-o", "%M").split(":")[0]
    limit_time(run, int(minutes) + 2)


def limit_time(run, minutes):
    """Give the job another time limit."""
    job = run.job()
    run.cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")


def test_it_ends_as_the_undisturbed_one(finished, tmp_path):
    disturbed, other = (finished.copy(tmp_path / name) for name in ("one", "other"))
    disturbed.change("finetune", **STEPS)
    for run in (disturbed, other):
        use_one_gpu(run)
    disturbed.adapt(
        lambda profile: profile["set-resources"]["finetune"].update(
            slurm_partition="low", slurm_extra="--signal=USR1@90"
        )
    )
    shutil.rmtree(other.folder / "results/finetune")
    processes = [disturbed.start(CHECKPOINT), other.start(CHECKPOINT)]
    try:
        with no_waiting_after_requeue(finished.cluster):
            at = []
            for disturb in (preempt, requeue, shorten):
                before = disturbed.newest_step()
                wait_until(lambda b=before: disturbed.newest_step() > b, processes[0])
                disturb(disturbed)
                at.append(restarted(disturbed, processes[0], max(at, default=0)))
            print(f"went on at steps {at}")
            limit_time(disturbed, 60)
            shown = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], shown
    assert other.history() == finished.history()
    assert other.weights() == finished.weights()

    undisturbed = disturbed.copy(tmp_path / "undisturbed")
    shutil.rmtree(undisturbed.folder / "results/finetune")
    undisturbed.change("hardware", nodes=1, gpus_per_node=4)
    undisturbed("snakemake", "--cores", "4", "--", CHECKPOINT)
    assert disturbed.history() == undisturbed.history()
    assert disturbed.weights() == undisturbed.weights()
