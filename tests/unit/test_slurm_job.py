"""What a SLURM job asks SLURM of itself. Its commands are stood in for by scripts.

The real ones are in tests/slurm.
"""

import os

import pytest

from retune.errors import RetuneError
from retune.training.slurm import (
    JOB,
    REQUEUE,
    Allocation,
    call,
    field,
    is_job,
    read_allocation,
    requeue,
    srun_command,
)

NODE = "NodeName=node-a Arch=x86_64 NodeAddr={address} NodeHostName=node-a CPUTot=64"
SHOWN = "JobId=12 JobName=x JobState={state} Reason=None PreemptTime={preempted}"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return a function that makes a SLURM command; it writes its calls down."""
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(JOB, "12")
    monkeypatch.setenv(REQUEUE, "1")

    def make(name, body):
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n{body}\n')
        command.chmod(0o755)

    make.calls = lambda: calls.read_text().splitlines()
    return make


def job_that_is(slurm, state, preempted="None", requeue="exit 0"):
    """Make a scontrol that shows a job so."""
    shown = SHOWN.format(state=state, preempted=preempted)
    slurm("scontrol", f'case "$1" in show) echo "{shown}";; requeue) {requeue};; esac')


def test_an_allocation_is_what_squeue_and_scontrol_say(slurm):
    slurm("squeue", 'echo "2|128|node-a"')
    slurm("scontrol", f'echo "{NODE.format(address="10.0.0.1")}"')
    assert read_allocation() == Allocation(2, 64, "10.0.0.1")
    assert slurm.calls() == [
        "squeue --noheader --jobs 12 -o %D|%C|%B",
        "scontrol show node --oneliner node-a",
    ]


def test_a_node_without_an_address_is_reached_by_its_name(slurm):
    slurm("squeue", 'echo "1|8|node-a"')
    slurm("scontrol", 'echo "NodeName=node-a State=IDLE"')
    assert read_allocation().address == "node-a"


def test_srun_starts_one_process_with_all_of_each_node():
    assert srun_command(Allocation(3, 64, "10.0.0.1")) == [
        *("srun", "--nodes=3", "--ntasks=3", "--ntasks-per-node=1"),
        *("--cpus-per-task=64", "--mem=0", "--kill-on-bad-exit=1"),
    ]


@pytest.mark.parametrize(
    ("state", "preempted"),
    [("RUNNING", "None"), ("COMPLETING", "2026-01-01T00:00:00")],
)
def test_a_job_that_runs_or_is_preempted_is_queued_again(slurm, state, preempted):
    job_that_is(slurm, state, preempted)
    assert requeue() is True
    assert slurm.calls() == [
        "scontrol show job --oneliner 12",
        "scontrol requeue 12",
    ]


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "FAILED"])
def test_a_job_that_somebody_ends_is_not_queued_again(slurm, state):
    job_that_is(slurm, state)
    assert requeue() is False
    assert slurm.calls() == ["scontrol show job --oneliner 12"]


@pytest.mark.parametrize(
    ("name", "value"), [(JOB, None), (REQUEUE, None), (REQUEUE, "")]
)
def test_nothing_is_queued_outside_a_job_or_where_it_is_not_wanted(
    slurm, monkeypatch, name, value
):
    job_that_is(slurm, "RUNNING")
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert requeue() is False
    assert slurm.calls() == []


def test_a_job_that_slurm_does_not_queue_again_says_so(slurm):
    job_that_is(slurm, "RUNNING", requeue="echo Requeue is disabled >&2; exit 1")
    assert requeue() is False
    assert slurm.calls()[-1] == "scontrol requeue 12"


def test_a_job_is_told_by_its_number(monkeypatch):
    monkeypatch.setenv(JOB, "12")
    assert is_job()
    monkeypatch.delenv(JOB)
    assert not is_job()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("JobState=RUNNING", "RUNNING"),
        ("JobId=12 JobState=RUNNING Reason=None", "RUNNING"),
        ("   JobState=RUNNING\n", "RUNNING"),
        ("LastJobState=FAILED JobState=RUNNING", "RUNNING"),
        ("LastJobState=FAILED", None),
        ("JobState= Reason=None", None),
        ("", None),
    ],
)
def test_a_field_is_found_by_its_whole_name(text, value):
    assert field(text, "JobState") == value


def test_a_command_that_fails_is_told_in_its_own_words(slurm):
    slurm("squeue", "echo Invalid job id specified >&2; exit 1")
    with pytest.raises(RetuneError) as raised:
        read_allocation()
    assert str(raised.value) == (
        "squeue --noheader --jobs 12 -o %D|%C|%B: Invalid job id specified"
    )


def test_a_command_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RetuneError, match="SLURM's squeue is not on the PATH"):
        call("squeue")
