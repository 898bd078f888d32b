"""What a dry run shows of SLURM's jobs, and the watch over them in a run.

SLURM's commands are stood in for by scripts; the real ones are in tests/slurm.
"""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from snakemake.common.tbdstring import TBDString
from snakemake.iocontainers import ResourceList

from retune_slurm.dry_run import describe, request
from retune_slurm.watch import HOPELESS, Job, Watch, read_jobs

RUN = "a-run"


def job_of(threads=1, **resources):
    """Return a job as the executor reads it."""
    return SimpleNamespace(threads=threads, resources=ResourceList(fromdict=resources))


def test_a_request_says_who_pays_where_how_long_and_how_much():
    job = job_of(
        slurm_account="mine",
        slurm_partition="cpu",
        runtime=60,
        mem_mb=8000,
        cpus_per_task=4,
    )
    assert request(job) == (
        "-A mine -p cpu -t 60 --mem 8000 --ntasks=1 --cpus-per-task=4"
    )


def test_without_an_account_none_is_named():
    assert "-A" not in request(job_of(slurm_account="", slurm_partition="cpu"))


def test_a_request_for_several_nodes_with_gpus():
    job = job_of(
        **{"mpi": "srun", "nodes": 2, "tasks": 2, "tasks_per_gpu": 0},
        **{"gres": "gpu:a100:4", "cpus_per_task": 32, "slurm_partition": "gpu"},
        slurm_extra="--signal=USR1@300 --mail-user='a b'",
    )
    assert request(job) == (
        "-p gpu --nodes=2 --ntasks=2 --cpus-per-task=32 --signal=USR1@300"
        " '--mail-user=a b' --gres=gpu:a100:4"
    )


def test_what_the_executor_would_refuse_is_shown_as_refused():
    shown = describe(job_of(slurm_partition="gpu", slurm_extra="--gres=gpu:8"))
    assert shown.startswith("would be refused: ")
    assert "'slurm_extra'" in shown
    assert describe(job_of(slurm_partition="gpu")).startswith("sbatch: -p gpu")


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        (("runtime", "mem_mb", "slurm_extra"), "time, memory, signal"),
        (("runtime",), "time"),
        (("mem_mb",), "memory"),
    ],
)
def test_what_is_not_known_yet_is_said_and_not_asked_for(unknown, told):
    known = {"runtime": 60, "mem_mb": 8000, "slurm_extra": "--signal=USR1@300"}
    shown = request(job_of(**known | dict.fromkeys(unknown, TBDString())))
    asked, _, after = shown.partition(" (")
    assert after == f"to come, from files not made yet: {told})"
    assert "TBD" not in shown
    assert ("-t 60" in asked) == ("runtime" not in unknown)
    assert ("--mem 8000" in asked) == ("mem_mb" not in unknown)
    assert ("--signal" in asked) == ("slurm_extra" not in unknown)


def test_what_is_known_needs_no_remark():
    assert "(" not in request(job_of(runtime=60, mem_mb=8000))


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """SLURM's commands: what squeue shows can be said, all calls are written down."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    calls, shown, refuses = (tmp_path / name for name in ("calls", "shown", "refuses"))
    for name, body in {
        "squeue": f"cat {shown}",
        "scontrol": f"[ ! -e {refuses} ]",
        "scancel": "",
    }.items():
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{body}\n')
        command.chmod(0o755)

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
        changes=changes,
        calls=lambda: calls.read_text().splitlines(),
    )


@pytest.fixture
def watch(slurm):
    """A watch that keeps what it tells."""
    told = []
    watch = Watch(RUN, 0.01, told.append)
    watch.told = told
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


def test_a_preempted_job_is_queued_again(slurm, watch):
    slurm.show("12|PREEMPTED|None|rule_finetune", "13|RUNNING|None|rule_baseline")
    watch.look()
    assert slurm.changes() == ["scontrol requeue 12"]
    assert watch.told == [
        "finetune: SLURM job 12 was preempted; it is queued again",
    ]


def test_a_preempted_job_that_slurm_refuses_to_queue_ends_the_run(slurm, watch):
    slurm.refuse()
    slurm.show("12|PREEMPTED|None|rule_finetune")
    heard = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        watch.look()
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]
    [told] = watch.told
    assert told.startswith("finetune: SLURM job 12 was preempted, and SLURM does not")
    assert told.endswith("run the same command to go on")


@pytest.mark.parametrize("reason", sorted(HOPELESS))
def test_a_job_that_can_never_start_is_cancelled_when_seen_twice(slurm, watch, reason):
    slurm.show(f"12|PENDING|{reason}|rule_finetune")
    watch.look()
    assert (slurm.changes(), watch.told) == ([], [])
    watch.look()
    assert slurm.changes() == ["scancel 12"]
    [told] = watch.told
    assert told.startswith(f"finetune: SLURM job 12 can never start ({reason});")


def test_a_reason_that_passes_is_none(slurm, watch):
    for reason in ("PartitionTimeLimit", "Priority", "PartitionTimeLimit"):
        slurm.show(f"12|PENDING|{reason}|rule_finetune")
        watch.look()
    assert (slurm.changes(), watch.told) == ([], [])


@pytest.mark.parametrize(
    "job",
    [
        "12|PENDING|Priority|rule_finetune",
        "12|PENDING|Resources|rule_finetune",
        "12|PENDING|BeginTime|rule_finetune",
        "12|RUNNING|PartitionTimeLimit|rule_finetune",
        "12|COMPLETED|None|rule_finetune",
        "12|CANCELLED|PartitionTimeLimit|rule_finetune",
    ],
)
def test_other_jobs_are_left_alone(slurm, watch, job):
    slurm.show(job)
    watch.look()
    watch.look()
    assert (slurm.changes(), watch.told) == ([], [])


def test_a_squeue_that_fails_shows_no_jobs(slurm, tmp_path):
    slurm.show("12|PREEMPTED|None|rule_finetune")
    (tmp_path / "squeue").write_text((tmp_path / "squeue").read_text() + "exit 1\n")
    assert read_jobs(RUN) == []


def test_it_looks_again_and_again_until_its_process_ends(slurm):
    slurm.show("12|PENDING|PartitionTimeLimit|rule_finetune")
    code = (
        "import time; from retune_slurm.watch import Watch; told = []\n"
        "Watch('a-run', 0.05, told.append).start()\n"
        "while not told: time.sleep(0.01)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, check=True, timeout=20)
    assert len(slurm.calls()) > 1
