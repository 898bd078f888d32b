"""A build of DeepSpeed's operators that is killed does not hold up the next one."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

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
