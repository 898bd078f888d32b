"""A build of DeepSpeed's operators that is killed does not hold up the next one."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import pytest
from deepspeed.ops.op_builder import AsyncIOBuilder

from retune.training import ops
from retune.training.build_folders import processes_in, remove_left_lock

BUILD = "from retune.training.ops import build; build('cpu_adam', 'offload: cpu')"
# Seconds until the compiler runs, on a busy machine.
STARTING = 120


@pytest.fixture
def killed_build(tmp_path):
    """A folder in which a build was killed while its compilers go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        env=os.environ
        | {
            "TORCH_EXTENSIONS_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        | {"DS_ACCELERATOR": "cpu"},
    )
    folder = tmp_path / "cpu_adam"
    try:
        deadline = time.monotonic() + STARTING
        while len(processes_in(folder)) < 2:  # ninja and a compiler, besides Python
            assert process.poll() is None
            assert time.monotonic() < deadline, "nothing is compiled"
            time.sleep(0.05)
        process.kill()
        process.wait()
        yield folder
    finally:
        process.kill()
        process.wait()
        end_compilers(folder)


def end_compilers(folder):
    for pid in processes_in(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_build_holds_up_the_next_until_its_compilers_end(killed_build):
    lock = killed_build / "lock"
    mended = threading.Thread(target=remove_left_lock, args=(killed_build, 1))
    mended.start()
    time.sleep(3)
    assert processes_in(killed_build)
    assert lock.exists()
    end_compilers(killed_build)
    mended.join(timeout=10)
    assert not lock.exists()


def test_locks_that_were_left_are_removed_before_a_build(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(ops, "remove_left_lock", partial(remove_left_lock, patience=0))
    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda *_, **__: True)
    locks = [tmp_path / name / "lock" for name in ("pin_memory", "async_io")]
    for lock in locks:
        lock.parent.mkdir()
        lock.touch()
    left = []
    monkeypatch.setattr(
        AsyncIOBuilder,
        "load",
        lambda *_, **__: left.append([lock for lock in locks if lock.exists()]),
    )
    ops.build("async_io", "configure.offload_param: nvme")
    assert left == [[]]
