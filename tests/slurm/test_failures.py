"""What goes wrong on a cluster is told, and Snakemake ends."""

import re
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
    """Four runs at once, of which the jobs end in ways of their own.

    A rank of the first is killed, the job of the second is cancelled, that of the third
    too, but its executor asks sacct; of the fourth SLURM forgets at once that it ended.

    Returns for each the run, its job, the exit code and what was shown.
    """
    folder = tmp_path_factory.mktemp("ended")
    names = ("killed", "cancelled", "accounted", "forgotten")
    runs = {name: finished.copy(folder / name) for name in names}
    for run in runs.values():
        run.change("finetune", **LONG)
        use_one_gpu(run)
    use_sacct(runs["accounted"])
    forget_what_ended(runs["forgotten"])
    targets = dict.fromkeys(names, CHECKPOINT) | {"forgotten": "configure"}
    processes = {name: run.start(targets[name]) for name, run in runs.items()}
    try:
        for name in ("killed", "cancelled"):
            wait_until(runs[name].newest_step, processes[name])
        jobs = {name: run.job() for name, run in runs.items() if name != "forgotten"}
        rank_of(runs["killed"], 3).kill()
        for name in ("cancelled", "accounted"):
            finished.cluster.call("scancel", jobs[name])
        shown = {
            name: process.communicate(timeout=NOTICED_S)[0]
            for name, process in processes.items()
        }
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return {
        name: (run, jobs.get(name), processes[name].returncode, shown[name])
        for name, run in runs.items()
    }


def use_sacct(run):
    """Have the executor ask sacct, which names the user; the job does not start."""
    run.adapt(lambda profile: profile.update({"slurm-status-command": "sacct"}))
    run.adapt(
        lambda profile: profile["set-resources"]["finetune"].update(
            slurm_extra="--signal=USR1@90 --begin=now+1hour"
        )
    )
    # There is no accounting: squeue, in the words of sacct. The name comes last.
    run.put_before(
        "sacct",
        "for name; do :; done\n"
        f"{run.cluster.bin}/squeue --noheader --states=all --name $name"
        " --format '%i|%T' | sed 's/CANCELLED/CANCELLED by 0/'",
    )


def forget_what_ended(run):
    """Have SLURM not show a job that is over, as with a MinJobAge of no time."""
    run.change("configure", micro_batch_size=2)
    ask = f'shown=$({run.cluster.bin}/squeue "$@") || exit 1'
    run.put_before("squeue", f'{ask}\necho "$shown" | grep -v COMPLETED || true')


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


def test_a_job_that_is_cancelled_ends_the_run_that_asks_sacct(ended):
    run, job, code, shown = ended["accounted"]
    assert code == 1, shown
    assert f"SLURM job {job} is CANCELLED" in shown
    assert not run.newest_step()


def test_a_job_that_slurm_forgot_is_looked_for_in_its_outputs(ended):
    run, _, code, shown = ended["forgotten"]
    assert code == 0, shown
    assert re.search(
        r"configure: SLURM job \d+ is over, which Snakemake did not see", shown
    )
    assert run.read("plan/plan.json")["micro_batch_size"] == 2


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
    shown, seconds = refuse(run, gres="gpu:9", runtime=20)
    assert "Requested node configuration is not available" in shown
    assert shown.count("20 minutes may be too few for a single step") == 1
    assert seconds < 30


def test_a_job_that_can_never_start_is_not_waited_for(run):
    shown, seconds = refuse(run, runtime=600)
    assert "can never start (PartitionTimeLimit)" in shown
    assert seconds < 90
    assert not run.cluster.call("squeue", "-h")
