"""Following a training on several machines. SLURM's commands are stood in for.

Real nodes with real ranks are in tests/slurm.
"""

import errno
import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from plans import make_plan
from retune.artifacts.publishing import read_json
from retune.artifacts.run_spec import RunSpec
from retune.errors import RetuneError, Stopped
from retune.launching import node_process, several_machines, this_machine
from retune.launching.control_file import FILE
from retune.launching.hostfile import HOSTFILE
from retune.launching.node_process import failure_of, parse_arguments
from retune.launching.several_machines import (
    cause_of_failure,
    choose_master,
    find_launcher,
    run_nodes,
)
from retune.launching.slurm import JOB
from retune.settings import FinetuneSettings
from retune.supervision.failures import Failure, Fault, RankError
from retune.supervision.stopping import StopRequest
from retune.supervision.watched_progress import Silent

PLAN = make_plan(nodes=2, ranks_per_node=4, global_batch_size=8)
SETTINGS = FinetuneSettings(learning_rate=1e-5)
# Nodes that last until the step says that they are to stop so often.
UNTIL_STOPPED = """
tries=0
until grep -q '"stops": {}' $state/control.json; do
    tries=$((tries + 1)); [ $tries -lt 500 ] || exit 9; sleep 0.02
done
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that makes a command on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name, body):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)

    return make


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in (JOB, HOSTFILE, "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def job(command, monkeypatch):
    """This process belongs to a SLURM job of two nodes of 64 CPUs."""
    monkeypatch.setenv(JOB, "12")
    command("squeue", 'echo "2|128|node-a"')
    command("scontrol", 'echo "NodeName=node-a NodeAddr=10.0.0.1"')


@pytest.fixture
def hostfile(tmp_path, monkeypatch):
    """A hostfile of two hosts is named."""
    path = tmp_path / "hostfile"
    path.write_text("node-b slots=4\nnode-c slots=4\n")
    monkeypatch.setenv(HOSTFILE, str(path))
    return path


def test_srun_starts_the_nodes_of_a_job(job, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    launcher = find_launcher(2, 4)
    assert launcher.name == "srun"
    assert launcher.command[:3] == ["srun", "--nodes=2", "--ntasks=2"]
    assert "--cpus-per-task=64" in launcher.command
    assert launcher.command[-2:] == [sys.executable, "-m"]
    assert launcher.master == "10.0.0.1:29500"


def test_deepspeed_starts_those_of_a_hostfile(hostfile, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    launcher = find_launcher(2, 4)
    assert launcher.name == "deepspeed"
    assert launcher.command[1:3] == ["-m", "deepspeed.launcher.runner"]
    assert launcher.command[-1] == "--module"
    assert launcher.master == "node-b:29500"


def test_a_hostfile_goes_before_a_job(job, hostfile):
    assert find_launcher(2, 4).name == "deepspeed"


def test_with_neither_both_ways_are_told():
    with pytest.raises(RetuneError) as raised:
        find_launcher(2, 4)
    told = str(raised.value)
    assert "hardware.nodes: 2" in told
    assert "--workflow-profile profiles/slurm" in told
    assert HOSTFILE in told


def test_a_job_of_another_number_of_nodes_is_refused(job):
    with pytest.raises(RetuneError) as raised:
        find_launcher(3, 4)
    assert str(raised.value) == "hardware.nodes: 3, but this SLURM job has 2"


def test_a_hostfile_that_does_not_suffice_is_refused(hostfile):
    with pytest.raises(RetuneError, match="2 hosts, hardware.nodes is 3"):
        find_launcher(3, 4)
    with pytest.raises(RetuneError, match="node-b has 4 slots"):
        find_launcher(2, 8)


def test_the_environment_says_where_rank_0_is(monkeypatch):
    host, port = choose_master("node-a")
    assert host == "node-a"
    with socket.create_server(("127.0.0.1", port)):  # nobody listens there
        pass
    monkeypatch.setenv("MASTER_ADDR", "10.1.0.1")
    assert choose_master("node-a")[0] == "10.1.0.1"
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert choose_master("node-a") == ("10.1.0.1", 29500)


def failed(state, number, error, fault, time=1.0):
    """Leave what a node leaves of its failure."""
    failure = Failure(number, time, 3, error, is_explained=True, fault=fault)
    failure.write(state / f"failure-node{number}.json")


@pytest.mark.parametrize("nodes", [2, 3])
def test_the_cause_is_told_and_not_its_victims(tmp_path, nodes):
    failed(tmp_path, 0, "gloo: connection reset", Fault.VICTIM, time=1.0)
    failed(tmp_path, 1, "rank 5 was killed", Fault.OWN, time=2.0)
    error = cause_of_failure(tmp_path, nodes, "srun", 1)
    assert isinstance(error, RankError)
    assert str(error) == "rank 5 was killed"


def test_if_all_nodes_are_victims_the_first_one_is_told(tmp_path):
    failed(tmp_path, 0, "later", Fault.VICTIM, time=2.0)
    failed(tmp_path, 1, "first", Fault.VICTIM, time=1.0)
    assert str(cause_of_failure(tmp_path, 2, "srun", 1)) == "first"


@pytest.mark.parametrize("fault", [Fault.VICTIM, Fault.ABORTED])
def test_if_those_that_tell_are_victims_another_one_ended_without_a_word(
    tmp_path, fault
):
    failed(tmp_path, 0, "connection reset", fault)
    told = str(cause_of_failure(tmp_path, 2, "srun", 137))
    assert "a node ended without a word (srun ended with 137" in told
    assert "connection reset" not in told


def test_if_none_tells_anything_that_is_said(tmp_path):
    told = str(cause_of_failure(tmp_path, 2, "deepspeed", 1))
    assert "without a word (deepspeed ended with 1" in told


def test_what_keeps_a_node_from_beginning_is_told_with_its_number(tmp_path):
    failure = failure_of(RetuneError("the plan is for 8 GPUs"), 1)
    failure.write(tmp_path / "failure-node1.json")
    assert (
        str(cause_of_failure(tmp_path, 2, "srun", 1))
        == "node 1: the plan is for 8 GPUs"
    )


def test_what_a_rank_has_told_stays_as_it_is():
    failure = Failure(5, 1.0, 3, "killed", is_explained=True, fault=Fault.ABORTED)
    assert failure_of(RankError(failure), 1) == failure


@pytest.fixture
def run(job, command, tmp_path):
    """Return a function that runs nodes of which srun is a script.

    It finds what the nodes are started with in `$*`, and the run's folder in `$state`.
    """
    state = tmp_path / "state"
    state.mkdir()

    def run(body, signals=()):
        command("srun", f"for state; do :; done\n{body}")
        with StopRequest() as stop:
            for number in signals:
                os.kill(os.getpid(), number)
            run_nodes(PLAN, state, Silent(), stop)

    run.state = state
    return run


def test_the_nodes_find_all_that_they_need(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MASTER_PORT", "29500")
    run('printf "%s\n" "$@" > $state/words')
    words = (run.state / "words").read_text().splitlines()
    start = words.index("retune.launching.node_process")
    assert words[start - 2 : start] == [sys.executable, "-m"]
    monkeypatch.setattr(sys, "argv", words[start:])
    options = vars(parse_arguments())
    attempt = read_json(run.state / FILE)["attempt"]
    assert set(options.values()) == {"srun", attempt, "10.0.0.1:29500", run.state}


def test_a_signal_is_passed_on_by_the_file(run):
    run(UNTIL_STOPPED.format(1), [signal.SIGUSR1])
    assert read_json(run.state / FILE)["stops"] == 1


def test_a_second_signal_ends_the_nodes_at_once(run):
    start = time.monotonic()
    with pytest.raises(Stopped, match="second signal, SIGTERM") as raised:
        run(f"{UNTIL_STOPPED.format(2)}exit 143", [signal.SIGINT, signal.SIGTERM])
    assert raised.value.exit_code == 128 + signal.SIGTERM
    assert time.monotonic() - start < several_machines.END_S / 2


def test_a_failure_is_raised_with_its_cause(run):
    failure = Failure(
        5, 1.0, 3, "rank 5 was killed", is_explained=True, fault=Fault.OWN
    )
    failure.write(run.state / "ready.json")
    with pytest.raises(RankError, match="^rank 5 was killed$"):
        run("mv $state/ready.json $state/failure-node1.json; exit 1")


def test_a_failure_counts_also_if_the_launcher_does_not_tell(run):
    failure = Failure(
        5, 1.0, 3, "rank 5 was killed", is_explained=True, fault=Fault.OWN
    )
    failure.write(run.state / "ready.json")
    with pytest.raises(RankError, match="^rank 5 was killed$"):
        run("mv $state/ready.json $state/failure-node1.json; exit 0")


def test_a_node_that_was_taken_away_is_told(run):
    with pytest.raises(RetuneError, match=r"without a word \(srun ended with 137"):
        run("exit 137")
    # Others may be left, which the launcher does not reach any more.
    assert read_json(run.state / FILE)["stops"] == 2


def test_a_full_disk_does_not_hide_the_cause_nor_leave_nodes(run, monkeypatch):
    monkeypatch.setattr(several_machines, "END_S", 0.5)
    failed(run.state, 1, "rank 5: the disk is full", Fault.OWN)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("retune.launching.control_file.write_json", fail)
    with pytest.raises(RankError, match="rank 5: the disk is full"):
        run("sleep 30 & echo $! > $state/pid; wait")
    assert gone(int((run.state / "pid").read_text()))


def test_nodes_that_stay_after_another_has_failed_are_told_to_leave(run, monkeypatch):
    monkeypatch.setattr(several_machines, "END_S", 0.5)
    failed(run.state, 1, "rank 5 was killed", Fault.OWN)
    with pytest.raises(RankError, match="rank 5 was killed"):
        run(f"{UNTIL_STOPPED.format(2)}touch $state/left; exit 1")
    assert (run.state / "left").exists()


def test_nodes_that_do_not_leave_are_ended_with_all_they_have_started(run, monkeypatch):
    monkeypatch.setattr(several_machines, "END_S", 0.5)
    failed(run.state, 1, "rank 5 was killed", Fault.OWN)
    with pytest.raises(RankError, match="rank 5 was killed"):
        run("sleep 30 & echo $! > $state/pid; wait")
    assert gone(int((run.state / "pid").read_text()))


def test_a_node_leaves_nothing_on_its_disk(tmp_path, monkeypatch):
    disk, state = tmp_path / "nvme", tmp_path / "state" / "run"
    for name in ("run", "another"):
        (disk / name).mkdir(parents=True)
    offload = {"offload_optimizer": {"device": "nvme"}}
    training = RunSpec(
        settings=SETTINGS,
        base="base",
        tokens="tokens",
        plan=PLAN,
        deepspeed={"zero_optimization": offload},
        nvme_path=str(disk),
    )
    training.write(state)
    for name in ("build_ops", "check_devices", "ControlReader"):
        monkeypatch.setattr(node_process, name, Mock())
    # Ranks that use the disk and fail.
    use = f"import os; os.makedirs('{disk}/run/rank' + os.environ['RANK']); exit(1)"
    monkeypatch.setattr(
        this_machine, "rank_command", lambda *_: [sys.executable, "-c", use]
    )
    options = SimpleNamespace(state=state, attempt="this", rank0="127.0.0.1:1")
    with pytest.raises(RankError):
        node_process.run_ranks(options, number=0)
    assert [path.name for path in disk.iterdir()] == ["another"]


def gone(pid):
    """Return whether a process has ended, soon."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        if status.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
