"""The hosts of a training without a scheduler, and the command that starts it."""

import sys

import pytest

from retune.errors import RetuneError
from retune.launching.hostfile import (
    HOSTFILE,
    deepspeed_command,
    named_hostfile,
    read_hosts,
)


@pytest.fixture
def hostfile(tmp_path):
    """Return a function that writes a hostfile and returns its path."""

    def write(text):
        path = tmp_path / "hostfile"
        path.write_text(text)
        return path

    return write


def test_hosts_are_those_of_the_first_lines_in_order(hostfile):
    path = hostfile("node-b slots=8\nnode-a slots=4\n10.0.0.3  slots=8\n")
    assert read_hosts(path, 3, 4) == ["node-b", "node-a", "10.0.0.3"]
    assert read_hosts(path, 2, 4) == ["node-b", "node-a"]


def test_comments_and_blank_lines_are_passed_over(hostfile):
    path = hostfile(
        "# ours\n\nnode-a slots=2 # the first\n   \n  #node-c slots=2\n"
        "  node-b slots=2\n"
    )
    assert read_hosts(path, 2, 2) == ["node-a", "node-b"]


@pytest.mark.parametrize(
    "line", ["node-b", "node-b slots=many", "node-b slots=2 extra", "slots=2"]
)
def test_another_line_is_refused_with_its_number(hostfile, line):
    path = hostfile(f"node-a slots=2\n{line}\n")
    with pytest.raises(RetuneError) as raised:
        read_hosts(path, 1, 2)
    assert str(raised.value) == f"{path}: entry 2 is {line!r}, not HOST slots=N"


def test_a_host_with_too_few_slots_is_named(hostfile):
    path = hostfile("node-a slots=8\nnode-b slots=4\nnode-c slots=1\n")
    with pytest.raises(RetuneError) as raised:
        read_hosts(path, 2, 8)
    assert str(raised.value) == (
        f"{path}: node-b has 4 slots, hardware.ranks_per_node is 8"
    )


def test_a_host_that_is_not_needed_may_have_too_few(hostfile):
    path = hostfile("node-a slots=8\nnode-b slots=4\n")
    assert read_hosts(path, 1, 8) == ["node-a"]


def test_a_host_that_is_named_twice_is_refused(hostfile):
    path = hostfile("node-a slots=8\nnode-a slots=8\n")
    with pytest.raises(RetuneError) as raised:
        read_hosts(path, 1, 8)
    assert str(raised.value) == f"{path}: node-a is named twice"


def test_too_few_hosts_are_counted(hostfile):
    path = hostfile("node-a slots=8\n")
    with pytest.raises(RetuneError, match=r": 1 hosts, hardware\.nodes is 2"):
        read_hosts(path, 2, 8)


def test_a_missing_file_is_named_with_the_variable(tmp_path):
    with pytest.raises(RetuneError) as raised:
        read_hosts(tmp_path / "nowhere", 2, 8)
    assert str(raised.value) == f"{HOSTFILE}: {tmp_path / 'nowhere'} does not exist"


def test_the_environment_names_it(monkeypatch, tmp_path):
    monkeypatch.delenv(HOSTFILE, raising=False)
    assert named_hostfile() is None
    monkeypatch.setenv(HOSTFILE, "")
    assert named_hostfile() is None
    monkeypatch.setenv(HOSTFILE, str(tmp_path))
    assert named_hostfile() == tmp_path


def test_deepspeed_starts_one_process_on_each_of_the_nodes(hostfile):
    path = hostfile("node-a slots=8\nnode-b slots=8\n")
    command = deepspeed_command(path, 2, "node-a", 29500)
    assert command[:3] == [sys.executable, "-m", "deepspeed.launcher.runner"]
    given = dict(zip(command[3:-1], command[4:], strict=True))
    assert given["--hostfile"] == str(path)
    assert (given["--num_nodes"], given["--num_gpus"]) == ("2", "1")
    assert (given["--master_addr"], given["--master_port"]) == ("node-a", "29500")
    # A node knows of no --local_rank.
    assert "--no_local_rank" in command
    assert command[-1] == "--module"
