"""The watch over a run's SLURM jobs.

SLURM's commands are stood in for by scripts; the real ones are in tests/slurm.
"""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from retune_slurm import watch as watching
from retune_slurm.executor_internals import ExecutorJobs
from retune_slurm.watch import REFUSALS, Job, Watch, read_jobs

RUN = "a-run"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """SLURM's commands: what squeue shows can be said, all calls are written down."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    calls, shown, refuses = (tmp_path / name for name in ("calls", "shown", "refuses"))
    for name, body in {
        "squeue": f"cat {shown}",
        "scontrol": f"[ ! -e {refuses} ]",
        "scancel": f"[ ! -e {refuses} ]",
    }.items():
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{body}\n')
        command.chmod(0o755)

    calls.touch()

    def changes():
        """Return the calls that change something."""
        lines = calls.read_text().splitlines()
        return [line for line in lines if not line.startswith("squeue")]

    def show(*jobs):
        shown.write_text("".join(f"{job}\n" for job in jobs))

    show()
    return SimpleNamespace(
        show=show,
        refuse=refuses.touch,
        agree=refuses.unlink,
        changes=changes,
        calls=lambda: calls.read_text().splitlines(),
    )


class Executor:
    """Of Snakemake's executor what the watch uses: it waits for jobs 12 and 13."""

    run_uuid = RUN

    def __init__(self) -> None:
        """Wait for both."""
        self.lock = threading.Lock()
        self.active_jobs = [
            SimpleNamespace(
                external_jobid=number, aux={"slurm_logfile": f"{number}.log"}
            )
            for number in ("12", "13")
        ]
        self.next_seconds_between_status_checks = 170
        self.ends = []

    def report_job_success(self, info):
        self.ends.append(f"{info.external_jobid} succeeded")

    def report_job_error(self, info, msg, aux_logs):
        assert aux_logs == [f"{info.external_jobid}.log"]
        self.ends.append(msg)

    def waits_for(self):
        return [info.external_jobid for info in self.active_jobs]


@pytest.fixture
def watch(slurm, monkeypatch):
    """A watch that keeps what it tells; its clock goes 10 s a look, its interval."""
    executor, told = Executor(), []
    watch = Watch(ExecutorJobs(executor, 10), 10, told.append)
    watch.executor, watch.told = executor, told
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr(watching, "time", clock)

    def look(times=1):
        for _ in range(times):
            now = clock.monotonic() + 10
            clock.monotonic = lambda now=now: now
            Watch.check(watch)

    watch.look = look
    return watch


def test_only_the_jobs_of_the_run_are_looked_at(slurm):
    slurm.show("12|RUNNING|None|rule_finetune", "13|PENDING|Priority|a|b")
    assert read_jobs(RUN) == [
        Job("12", "RUNNING", "None", "rule_finetune"),
        Job("13", "PENDING", "Priority", "a|b"),
    ]
    [call] = slurm.calls()
    assert f"--name {RUN}" in call
    assert "--states=all" in call


def test_a_line_that_is_no_job_is_left_out(slurm):
    slurm.show("CLUSTER: mine", "12|RUNNING|None|rule_finetune", "", "odd|line")
    assert read_jobs(RUN) == [Job("12", "RUNNING", "None", "rule_finetune")]


def test_the_executor_is_kept_looking_as_often_as_it_began(slurm, watch):
    watch.look()
    # It adds 10 s of its own to that.
    assert watch.executor.next_seconds_between_status_checks == 0
    ExecutorJobs(watch.executor, 30).keep_interval()
    assert watch.executor.next_seconds_between_status_checks == 20


def test_a_preempted_job_is_queued_again(slurm, watch):
    slurm.show("12|PREEMPTED|None|rule_finetune", "13|RUNNING|None|rule_baseline")
    watch.look()
    assert slurm.changes() == ["scontrol requeue 12"]
    assert watch.told == [
        "finetune: SLURM job 12 was preempted; it is queued again",
    ]
    assert watch.executor.ends == []


def test_a_preempted_job_that_slurm_refuses_to_queue_has_failed_once(slurm, watch):
    slurm.refuse()
    slurm.show("12|PREEMPTED|None|rule_finetune", "13|RUNNING|None|rule_baseline")
    watch.look(REFUSALS - 1)
    assert watch.executor.ends == []
    watch.look(10)
    assert slurm.changes() == ["scontrol requeue 12"] * REFUSALS
    assert watch.executor.ends == [
        "SLURM job 12 was preempted, and SLURM does not queue it again. "
    ]
    assert watch.executor.waits_for() == ["13"]


def test_a_refusal_that_passes_ends_nothing(slurm, watch):
    slurm.refuse()
    for _ in range(3):
        slurm.show("12|PREEMPTED|None|rule_finetune")
        watch.look(REFUSALS - 1)
        # The last call did it, though its answer was lost.
        slurm.show("12|PENDING|BeginTime|rule_finetune")
        watch.look()
    assert watch.executor.ends == []


# As squeue names them; of each family of limits some.
HOPELESS = [
    *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints"),
    *("AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"),
    *("AssocMaxNodePerJobLimit", "QOSMaxNodePerJobLimit"),
    *("AssocMaxCpuPerJobLimit", "QOSMaxCpuPerJobLimit"),
    *("AssocMaxCpuPerNode", "QOSMaxCpuPerNode", "AssocMaxCpuMinutesPerJobLimit"),
    *("AssocMaxGRESPerJob", "AssocMaxGRESPerNode"),
    *("QOSMaxGRESPerJob", "QOSMaxGRESPerNode", "QOSMaxGRESMinutesPerJob"),
    *("AssocMaxMemPerJob", "AssocMaxMemPerNode"),
    *("QOSMaxMemoryPerJob", "QOSMaxMemoryPerNode"),
    *("AssocMaxBillingPerJob", "QOSMaxBillingPerJob"),
    *("QOSMinGRES", "QOSMinCpuNotSatisfied", "MaxMemPerLimit"),
    *("InvalidAccount", "InvalidQOS", "AccountNotAllowed", "QOSNotAllowed"),
    *("DependencyNeverSatisfied", "ReservationDeleted", "JobHoldMaxRequeue"),
    *("launch failed requeued held", "launch_failed_requeued_held"),
    "launch failure limit exceeded requeued held",
    "user env retrieval failed requeued held",
]


@pytest.mark.parametrize("reason", HOPELESS)
def test_a_job_that_can_never_start_is_cancelled_when_seen_twice(slurm, watch, reason):
    slurm.show(f"12|PENDING|{reason}|rule_finetune")
    watch.look()
    assert (slurm.changes(), watch.told) == ([], [])
    watch.look(3)
    assert slurm.changes() == ["scancel 12"]
    [told] = watch.told
    assert told.startswith(f"finetune: SLURM job 12 can never start ({reason});")
    assert watch.executor.ends == [f"SLURM job 12 can never start ({reason}). "]


def test_a_cancel_that_fails_is_tried_again_and_told_once(slurm, watch):
    slurm.show("12|PENDING|PartitionTimeLimit|rule_finetune")
    slurm.refuse()
    watch.look(3)
    assert watch.executor.ends == []
    slurm.agree()
    watch.look(3)
    assert slurm.changes() == ["scancel 12"] * 3
    assert (len(watch.told), len(watch.executor.ends)) == (1, 1)


def test_a_reason_that_passes_is_none(slurm, watch):
    for reason in ("PartitionTimeLimit", "Priority", "PartitionTimeLimit"):
        slurm.show(f"12|PENDING|{reason}|rule_finetune")
        watch.look()
    assert (slurm.changes(), watch.told) == ([], [])


PASSING = [
    *("Priority", "Resources", "BeginTime", "Dependency", "JobHeldUser"),
    *("QOSMaxCpuPerUserLimit", "QOSMaxGRESPerUser", "MaxGRESPerAccount"),
    *("QOSGrpGRES", "AssocGrpCPUMinutesLimit", "QOSGrpGRESRunMinutes"),
    *("AssocMaxJobsLimit", "QOSMaxJobsPerUserLimit", "ReqNodeNotAvail, Reserved"),
]


@pytest.mark.parametrize(
    "job",
    [
        *(f"12|PENDING|{reason}|rule_finetune" for reason in PASSING),
        "12|RUNNING|PartitionTimeLimit|rule_finetune",
        "12|COMPLETING|None|rule_finetune",
        # Snakemake waits for no such job.
        "14|PENDING|PartitionTimeLimit|rule_finetune",
        "14|PREEMPTED|None|rule_finetune",
        "14|CANCELLED|None|rule_finetune",
    ],
)
def test_other_jobs_are_left_alone(slurm, watch, job):
    slurm.show(job, "13|RUNNING|None|rule_baseline")
    watch.look(20)
    assert (slurm.changes(), watch.told, watch.executor.ends) == ([], [], [])


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "TIMEOUT"])
def test_an_end_that_the_executor_does_not_see_is_told_to_it(slurm, watch, state):
    slurm.show(f"12|{state}|None|rule_finetune", "13|RUNNING|None|rule_baseline")
    watch.look(3)
    assert watch.executor.ends == []  # it may see that itself
    watch.look(3)
    assert watch.executor.ends == [f"SLURM job 12 is {state}. "]
    assert watch.executor.waits_for() == ["13"]


def test_a_job_that_is_done_is_told_to_the_executor_that_does_not_see_it(slurm, watch):
    slurm.show("12|COMPLETED|None|rule_finetune")
    watch.look(6)
    assert watch.executor.ends == ["12 succeeded"]
    [told] = watch.told
    assert told.startswith("finetune: SLURM job 12 is over, which Snakemake did not")


@pytest.mark.parametrize(
    ("state", "end"),
    [
        ("RUNNING", "12 succeeded"),
        ("COMPLETING", "12 succeeded"),
        ("PENDING", "SLURM job 12 is not in the queue any more; it was PENDING. "),
        ("PREEMPTED", "SLURM job 12 is not in the queue any more; it was PREEMPTED. "),
    ],
)
def test_a_job_that_slurm_forgot_is_not_waited_for(slurm, watch, state, end):
    slurm.show(f"12|{state}|None|rule_finetune")
    watch.look()
    slurm.show()
    watch.look(10)
    assert watch.executor.ends == []
    watch.look(3)
    assert watch.executor.ends == [end]
    # It was never shown: it may be in the queue of another cluster.
    assert watch.executor.waits_for() == ["13"]


def test_a_job_that_is_shown_again_was_not_forgotten(slurm, watch):
    for _ in range(3):
        slurm.show("12|RUNNING|None|rule_finetune")
        watch.look()
        slurm.show()
        watch.look(9)
    assert watch.executor.ends == []


def test_a_squeue_that_fails_tells_nothing_of_jobs(slurm, watch, tmp_path):
    slurm.show("12|RUNNING|None|rule_finetune")
    watch.look()
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert read_jobs(RUN) is None
    watch.look(30)
    assert watch.executor.ends == []


def test_a_command_that_does_not_return_is_given_up(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "CALL_S", 0.1)
    (tmp_path / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    assert read_jobs(RUN) is None


def test_while_the_executor_looks_at_a_job_nobody_else_ends_it(slurm, watch):
    [job, _] = watch.executor.active_jobs
    slurm.show("12|CANCELLED|None|rule_finetune")
    watch.look(3)
    watch.executor.active_jobs.remove(job)
    watch.look(3)
    assert watch.executor.ends == []
    assert ExecutorJobs(watch.executor, 10).fail("12", "x") is False
    watch.executor.active_jobs.append(job)
    watch.look()
    assert watch.executor.ends == ["SLURM job 12 is CANCELLED. "]


def run_watch(code):
    """Run a watch that really looks, in a process of its own; return what it prints."""
    code = (
        "import time; from types import SimpleNamespace\n"
        "from retune_slurm import watch\n"
        f"jobs, told = SimpleNamespace(run_id={RUN!r}), []\n"
        "jobs.keep_interval, jobs.numbers = lambda: None, lambda: {'12'}\n"
        "jobs.fail = lambda number, reason: told.append(reason)\n"
        f"{code}\n"
        "watch.Watch(jobs, 0.05, told.append).start()\n"
        "while len(told) < 2: time.sleep(0.01)\n"
        "print(told)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        *(command,), env=environment, check=True, timeout=20, stdout=subprocess.PIPE
    ).stdout.decode()


def test_it_looks_again_and_again_until_its_process_ends(slurm):
    slurm.show("12|PENDING|PartitionTimeLimit|rule_finetune")
    assert "can never start" in run_watch("")
    assert len(slurm.calls()) > 1


def test_an_error_is_told_once_and_it_goes_on(slurm):
    slurm.show("12|PENDING|PartitionTimeLimit|rule_finetune")
    told = run_watch(
        "errors = [OSError('odd')] * 3\n"
        "def fail():\n"
        "    if errors: raise errors.pop()\n"
        "jobs.keep_interval = fail\n"
    )
    assert told.count("SLURM jobs could not be looked at: OSError: odd") == 1
    assert "can never start" in told
