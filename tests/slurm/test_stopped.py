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


@pytest.fixture(scope="module")
def undisturbed(finished, tmp_path_factory):
    """The same training, here, on as many ranks."""
    run = finished.copy(tmp_path_factory.mktemp("undisturbed") / "job")
    shutil.rmtree(run.folder / "results/finetune")
    run.change("finetune", **STEPS)
    run.change("hardware", nodes=1, ranks_per_node=4)
    run("snakemake", "--cores", "4", "--", CHECKPOINT)
    return run


def slurm_log(run, job):
    """Return what SLURM wrote of a job of finetune."""
    logs = run.folder / ".snakemake/slurm_logs/rule_finetune"
    return (logs / f"{job}.log").read_text()


def test_it_ends_as_the_undisturbed_one(finished, undisturbed, tmp_path):
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
    assert disturbed.history() == undisturbed.history()
    assert disturbed.weights() == undisturbed.weights()


def test_on_one_node_it_ends_as_the_undisturbed_one(run, undisturbed):
    # It is faster than on two, and must take as long: it saves more often.
    run.change("finetune", **STEPS | {"save_steps": 2})
    run.change("hardware", nodes=1, ranks_per_node=4)
    run.adapt(
        lambda profile: profile["set-resources"]["finetune"].update(
            slurm_extra="--signal=USR1@90"
        )
    )
    process = run.start(CHECKPOINT)
    try:
        with no_waiting_after_requeue(run.cluster):
            wait_until(run.newest_step, process)
            job = run.job()
            shorten(run)
            wait_until(lambda: run.state_of(job) == "PENDING", process)
            # The Snakemake in the job waits for the step, however long that saves.
            assert "User defined signal" not in slurm_log(run, job)
            print(f"went on at step {restarted(run, process, 0)}")
            limit_time(run, 60)
            shown, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 0, shown
    assert run.history() == undisturbed.history()
    assert run.weights() == undisturbed.weights()
