"""How a node hears that it is to stop, and that the step has gone."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from retune.artifacts.publishing import read_json
from retune.launching import control_file
from retune.launching.control_file import FILE, Control, end_earlier_nodes

SOON_S = 20
# Time in which a node looks many times.
WHILE_S = 0.3
LOST_S = 0.6
# A node that writes down what it hears. A process of its own: its reader ends it.
NODE = """
import sys, time
from pathlib import Path
from retune.launching import control_file
from retune.supervision.stopping import StopRequest
state, control_file.LOST_S = Path(sys.argv[1]), float(sys.argv[2])
control_file.POLL_S = 0.02
with StopRequest() as stop:
    control_file.ControlReader(state, "this", stop).start()
    while True:
        (state / ".heard").write_text(" ".join(each.name for each in stop.received))
        (state / ".heard").rename(state / "heard")
        time.sleep(0.02)
"""


@pytest.fixture
def start_node(tmp_path):
    """Return a function that starts a node, which listens then."""
    nodes = []

    def start(lost=60.0):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", NODE, str(tmp_path), str(lost)]
        nodes.append(subprocess.Popen(command, env=environment))
        deadline = time.monotonic() + SOON_S
        while not (tmp_path / "heard").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return nodes[-1]

    yield start
    for node in nodes:
        node.kill()
        node.wait()


@pytest.fixture
def node(start_node):
    """A node that listens."""
    return start_node()


def hears(state, *names):
    """Return whether a node hears this, soon, and no more."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if (state / "heard").read_text().split() == [*names]:
            break
        time.sleep(0.01)
    time.sleep(WHILE_S)
    return (state / "heard").read_text().split() == [*names]


def test_a_request_is_heard_once_and_a_second_one_counts(node, tmp_path):
    step = Control(tmp_path, "this")
    step.write(0)
    assert hears(tmp_path)
    step.write(1)
    assert hears(tmp_path, "SIGTERM")
    step.write(2)
    assert hears(tmp_path, "SIGTERM", "SIGTERM")


def test_two_requests_at_once_are_two(node, tmp_path):
    Control(tmp_path, "this").write(2)
    assert hears(tmp_path, "SIGTERM", "SIGTERM")


def test_a_signal_to_the_node_as_well_is_the_same_request(node, tmp_path):
    node.send_signal(signal.SIGUSR1)
    assert hears(tmp_path, "SIGUSR1")
    step = Control(tmp_path, "this")
    step.write(1)
    assert hears(tmp_path, "SIGUSR1")
    step.write(2)
    assert hears(tmp_path, "SIGUSR1", "SIGTERM")


def test_a_node_leaves_when_the_step_has_gone(start_node, tmp_path, monkeypatch):
    monkeypatch.setattr(control_file, "RENEW_S", 0.05)
    node = start_node(LOST_S)
    step = Control(tmp_path, "this")
    end = time.monotonic() + 2 * LOST_S
    while time.monotonic() < end:
        step.write(0)
        time.sleep(0.05)
    assert node.poll() is None
    assert node.wait(SOON_S) == 1


def test_a_node_leaves_when_the_step_never_comes(start_node):
    start = time.monotonic()
    assert start_node(LOST_S).wait(SOON_S) == 1
    assert time.monotonic() - start > LOST_S


def test_a_node_leaves_when_its_training_is_started_again(node, tmp_path):
    step = Control(tmp_path, "this")
    step.write(1)
    assert hears(tmp_path, "SIGTERM")
    Control(tmp_path, "another").write(0)
    assert node.wait(SOON_S) == 1


def test_a_node_leaves_when_its_training_is_started_on_one_machine(node, tmp_path):
    end_earlier_nodes(tmp_path)
    assert not (tmp_path / FILE).exists()  # nobody was told anything yet
    Control(tmp_path, "this").write(1)
    assert hears(tmp_path, "SIGTERM")
    end_earlier_nodes(tmp_path)
    assert node.wait(SOON_S) == 1


def test_what_an_earlier_start_was_told_is_not_heard(node, tmp_path):
    Control(tmp_path, "earlier").write(2)
    assert hears(tmp_path)
    Control(tmp_path, "this").write(1)
    assert hears(tmp_path, "SIGTERM")


def test_a_full_disk_is_told_once_and_nothing_is_lost(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    step = Control(tmp_path, "this")
    with monkeypatch.context() as patch:
        patch.setattr(control_file, "write_json", fail)
        step.write(1)
        step.write(1)
    (told,) = caplog.messages
    assert told.endswith("control.json cannot be written: No space left on device")
    step.write(1)
    assert read_json(tmp_path / FILE)["stops"] == 1


def test_the_step_writes_again_after_a_while(tmp_path, monkeypatch):
    step = Control(tmp_path, "this")
    step.write(0)
    first = read_json(tmp_path / FILE)
    step.write(0)
    assert read_json(tmp_path / FILE) == first
    monkeypatch.setattr(control_file, "RENEW_S", 0.0)
    step.write(0)
    assert read_json(tmp_path / FILE) != first


def test_a_request_is_written_at_once(tmp_path):
    step = Control(tmp_path, "this")
    step.write(0)
    step.write(1)
    assert read_json(tmp_path / FILE)["stops"] == 1


def test_a_node_hears_again_after_the_file_could_not_be_read(tmp_path, node):
    unreadable = tmp_path / FILE
    unreadable.mkdir()
    time.sleep(WHILE_S)
    unreadable.rmdir()
    Control(tmp_path, "this").write(1)
    assert hears(tmp_path, "SIGTERM")
