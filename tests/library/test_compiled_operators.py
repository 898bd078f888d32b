"""A build of DeepSpeed's operators that is killed does not hold up the next one."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from threading import Thread

import pytest
from deepspeed.accelerator import get_accelerator
from deepspeed.ops.op_builder import AsyncIOBuilder, CPUAdamBuilder

from retune.compat.pytorch_extensions import build_folder, is_built
from retune.errors import RetuneError
from retune.launching import compiled_operators
from retune.launching.build_folders import processes_in

BUILD = (
    "from retune.launching.compiled_operators import build;"
    " build('cpu_adam', 'offload: cpu')"
)
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


def test_a_killed_build_holds_up_the_next_until_its_compilers_end(
    killed_build, monkeypatch
):
    lock = killed_build / "lock"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(killed_build.parent))
    monkeypatch.setattr(CPUAdamBuilder, "load", lambda *_, **__: None)
    following = Thread(
        target=compiled_operators.build, args=("cpu_adam", "offload: cpu")
    )
    following.start()
    time.sleep(3)
    assert processes_in(killed_build)
    assert lock.exists()
    end_compilers(killed_build)
    following.join(timeout=10)
    assert not following.is_alive()
    assert not lock.exists()


@pytest.fixture
def left_locks(tmp_path, monkeypatch):
    """The locks that another machine's build left, and nothing loads for real."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(compiled_operators, "QUIET_S", 0)
    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda *_, **__: True)
    monkeypatch.setattr(AsyncIOBuilder, "load", lambda *_, **__: None)
    locks = [tmp_path / name / "lock" for name in ("pin_memory", "async_io")]
    for lock in locks:
        lock.parent.mkdir()
        lock.touch()
    return locks


def test_locks_that_were_left_are_removed_before_a_build(left_locks, monkeypatch):
    left = []
    monkeypatch.setattr(
        AsyncIOBuilder,
        "load",
        lambda *_, **__: left.append([lock for lock in left_locks if lock.exists()]),
    )
    compiled_operators.build("async_io", "configure.offload_param: nvme")
    assert left == [[]]


def test_operators_that_came_with_deepspeed_need_no_folder(left_locks, monkeypatch):
    installed = {"pin_memory": True, "async_io": True}
    monkeypatch.setattr("deepspeed.git_version_info.installed_ops", installed)
    name = get_accelerator()._name
    monkeypatch.setattr("deepspeed.git_version_info.accelerator_name", name)
    compiled_operators.build("async_io", "configure.offload_param: nvme")
    assert all(lock.exists() for lock in left_locks)


def test_an_error_without_words_is_told_by_its_name(left_locks, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(AsyncIOBuilder, "load", fail)
    with pytest.raises(RetuneError, match=r"could not be built \(MemoryError\)"):
        compiled_operators.build("async_io", "configure.offload_param: nvme")


@pytest.mark.parametrize("variable", ["TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"])
def test_an_extension_that_was_built_is_found_where_pytorch_builds_it(
    variable, tmp_path, monkeypatch
):
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert not is_built("cpu_adam")
    assert list(tmp_path.iterdir()) == []
    folder = build_folder("cpu_adam")
    assert folder.is_relative_to(tmp_path)
    assert not is_built("cpu_adam")
    (folder / "cpu_adam.so").touch()
    assert is_built("cpu_adam")
