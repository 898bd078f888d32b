"""Two trainings in one folder: the second waits for the first, or says who it is."""

import os
import subprocess
import sys
import threading
import time

import pytest

from retune.errors import RetuneError
from retune.training import run_lock
from retune.training.run_lock import only_run_in

# Another process that holds the lock until its input ends; then it goes on as it says.
HOLDER = """
import os, sys
from pathlib import Path
from retune.training.run_lock import only_run_in
with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
    if sys.argv[2] == "saved":
        os._exit(75)
"""


@pytest.fixture
def hold(tmp_path):
    """A function that has another process hold the lock of tmp_path/run."""
    processes = []

    def start(then="published"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "run"), then],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "held\n"
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_who_trains_already_is_named(hold, tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "PATIENCE_S", 0.2)
    pid = hold().pid
    told = rf"run: process {pid} on .+ trains exactly this already"
    with pytest.raises(RetuneError, match=told), only_run_in(tmp_path / "run"):
        pass


@pytest.mark.parametrize("then", ["saved", "published", "killed"])
def test_one_that_ends_soon_is_waited_for(hold, tmp_path, caplog, then):
    other = hold(then)
    end = other.kill if then == "killed" else other.stdin.close
    start = time.monotonic()
    threading.Timer(1, end).start()
    with only_run_in(tmp_path / "run"):
        assert time.monotonic() - start > 0.9
        assert f"process {other.pid} on " in caplog.text
        text = (tmp_path / "run.lock").read_text()
        assert text.startswith(f"{os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_file_that_was_removed_locks_nothing(tmp_path, monkeypatch):
    lock = tmp_path / "run.lock"
    flock = run_lock.fcntl.flock

    def removed_before(handle, how):
        lock.unlink()
        flock(handle, how)

    monkeypatch.setattr(run_lock.fcntl, "flock", removed_before)
    assert run_lock.acquire_now(lock, tmp_path / "run") is None
