"""What a SLURM job asks SLURM of itself. Its commands are stood in for by scripts.

The real ones are in tests/slurm.
"""

import os

import pytest

from retune.errors import RetuneError
from retune.launching.slurm import (
    ATTEMPTS,
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
# As SLURM 22.05 writes it, shortened.
JOB_SHOWN = (
    "JobId=12 JobName=x JobState=RUNNING Reason=None BatchHost=node1 NumNodes={nodes}"
    " NumCPUs={cpus} NumTasks=2 CPUs/Task=1 JOB_GRES=(null)   {details}"
    " MinCPUsNode=1 MinMemoryNode=1000M"
)
SHOWN = "JobId=12 JobName=x JobState={state} Reason=None PreemptTime={preempted}"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return a function that makes a SLURM command; it writes its calls down."""
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(JOB, "12")
    monkeypatch.setenv(REQUEUE, "1")
    monkeypatch.setattr("retune.launching.slurm.BETWEEN_ATTEMPTS_S", 0)

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


def job_on(slurm, details, nodes=2, cpus=128, node="NodeName=node1 State=IDLE"):
    """Make commands that show a job with these details."""
    slurm("squeue", f'echo "{nodes}|{cpus}|node1"')
    shown = JOB_SHOWN.format(nodes=nodes, cpus=cpus, details=details)
    slurm(
        "scontrol", f"case \"$2\" in job) echo '{shown}';; node) echo '{node}';; esac"
    )


def test_an_allocation_is_what_squeue_and_scontrol_say(slurm):
    node = NODE.format(address="10.0.0.1")
    job_on(slurm, "Nodes=node[1-2] CPU_IDs=0-63 Mem=1000 GRES=", node=node)
    assert read_allocation() == Allocation(2, 64, "10.0.0.1")
    assert slurm.calls() == [
        "squeue --noheader --jobs 12 -o %D|%C|%B",
        "scontrol show job --details --oneliner 12",
        "scontrol show node --oneliner node1",
    ]


@pytest.mark.parametrize(
    ("nodes", "cpus", "details", "least"),
    [
        # Whole nodes of different sizes.
        (2, 12, "Nodes=node1 CPU_IDs=0-3 Mem=1000 GRES=gpu:a100:2(IDX:0-1)  "
         " Nodes=node2 CPU_IDs=0-7 Mem=1000 GRES=gpu:a100:2(IDX:0-1)", 4),
        (2, 6, "Nodes=node[1-2] CPU_IDs=0-2 Mem=1000 GRES=", 3),
        (1, 3, "Nodes=node1 CPU_IDs=0-2 Mem=1000 GRES=", 3),
        (1, 9, "Nodes=node1 CPU_IDs=1,4-7,10 Mem=1000 GRES=", 6),
        # One thread of each core.
        (2, 8, "Nodes=node[1-2] CPU_IDs=0-7 Mem=1000 GRES=", 4),
        # A SLURM that does not say which.
        (2, 8, "", 4),
    ],
)  # fmt: skip
def test_each_node_has_the_cpus_of_the_smallest(slurm, nodes, cpus, details, least):
    job_on(slurm, details, nodes, cpus)
    assert read_allocation().cpus_per_node == least


def test_a_node_without_an_address_is_reached_by_its_name(slurm):
    job_on(slurm, "")
    assert read_allocation().address == "node1"


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


def fails_at_first(slurm, tmp_path, times, body):
    """Make a scontrol that a busy controller does not answer so many times."""
    (tmp_path / "busy").write_text("x" * times)
    slurm(
        "scontrol",
        f"left=$(cat {tmp_path}/busy)\n"
        f'if [ "$left" ]; then printf %s "${{left#x}}" > {tmp_path}/busy\n'
        "echo Socket timed out on send/recv operation >&2; exit 1; fi\n" + body,
    )


def test_an_allocation_is_asked_for_until_slurm_answers(slurm, tmp_path):
    slurm("squeue", 'echo "1|8|node1"')
    fails_at_first(slurm, tmp_path, ATTEMPTS - 1, "echo NodeAddr=10.0.0.1")
    assert read_allocation() == Allocation(1, 8, "10.0.0.1")


def test_a_job_is_queued_again_as_soon_as_slurm_answers(slurm, tmp_path, caplog):
    shown = SHOWN.format(state="RUNNING", preempted="None")
    fails_at_first(
        slurm, tmp_path, ATTEMPTS - 1, f'[ "$1" = requeue ] || echo "{shown}"'
    )
    assert requeue() is True
    assert slurm.calls()[-1] == "scontrol requeue 12"
    assert caplog.text.count("Socket timed out") == ATTEMPTS - 1


def test_a_command_that_fails_is_told_in_its_own_words(slurm):
    slurm("squeue", "echo Invalid job id specified >&2; exit 1")
    with pytest.raises(RetuneError) as raised:
        read_allocation()
    assert str(raised.value) == (
        "squeue --noheader --jobs 12 -o %D|%C|%B: Invalid job id specified"
    )
    assert len(slurm.calls()) == ATTEMPTS


def test_a_command_that_does_not_return_is_given_up(slurm, monkeypatch):
    monkeypatch.setattr("retune.launching.slurm.ANSWER_S", 0.1)
    slurm("squeue", "exec sleep 60")
    with pytest.raises(RetuneError, match="squeue: no answer in 0 s"):
        call("squeue")
    assert len(slurm.calls()) == ATTEMPTS


def test_a_command_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RetuneError, match="SLURM's squeue is not on the PATH"):
        call("squeue")
