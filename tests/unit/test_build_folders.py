import errno
import fcntl
import subprocess
import sys
import threading
import time

import pytest

from retune.launching.build_folders import only_build_in, processes_in, remove_left_lock


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "async_io"
    folder.mkdir()
    return folder


def sleeping(folder, held=None):
    """Return a process that works in `folder`, with a file open, until it is killed."""
    command = f"import time\nfile = open({str(held)!r}) if {bool(held)} else None\n"
    command += "print(flush=True)\ntime.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-c", command], cwd=folder, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def remove_in_thread(folder, quiet):
    thread = threading.Thread(target=remove_left_lock, args=(folder, quiet))
    thread.start()
    return thread


def test_a_lock_of_nobody_is_removed_and_told(folder, caplog):
    (folder / "lock").touch()
    remove_left_lock(folder, quiet=0)
    assert not (folder / "lock").exists()
    assert f"{folder / 'lock'}: removed; the build that left it" in caplog.text


def test_without_a_lock_nothing_is_waited_for(folder):
    start = time.monotonic()
    remove_left_lock(folder, quiet=60)
    assert time.monotonic() - start < 1


def test_a_lock_that_may_be_another_machines_is_waited_for(folder, caplog):
    lock = folder / "lock"
    lock.touch()
    thread = remove_in_thread(folder, quiet=60)
    time.sleep(1)
    assert lock.exists()
    lock.unlink()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert "removed" not in caplog.text


def test_another_machine_that_still_builds_is_waited_for(folder):
    lock = folder / "lock"
    lock.touch()
    thread = remove_in_thread(folder, quiet=3)
    for size in range(20):  # an object file grows
        (folder / "cpu_adam.o").write_bytes(bytes(size))
        time.sleep(0.2)
    assert lock.exists()
    thread.join(timeout=10)
    assert not lock.exists()


@pytest.mark.parametrize("how", ["works there", "holds the lock"])
def test_a_lock_stays_while_somebody_builds(folder, tmp_path, how):
    lock = folder / "lock"
    lock.touch()
    builder = (
        sleeping(folder) if how == "works there" else sleeping(tmp_path, held=lock)
    )
    try:
        assert processes_in(folder) == [builder.pid]
        waiting = remove_in_thread(folder, quiet=0)
        time.sleep(1)
        assert lock.exists()
    finally:
        builder.kill()
        builder.communicate()
    waiting.join(timeout=10)
    assert not lock.exists()


def test_a_folder_whose_name_begins_alike_is_another(folder, tmp_path):
    other = tmp_path / "async_io_2"
    other.mkdir()
    builder = sleeping(other)
    try:
        assert processes_in(folder) == []
    finally:
        builder.kill()
        builder.communicate()


def test_one_run_builds_at_a_time(tmp_path):
    order = []

    def second():
        with only_build_in(tmp_path):
            order.append("second")

    with only_build_in(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.3)
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"]


def test_a_build_that_was_killed_is_told_from_one_that_ended(tmp_path):
    with only_build_in(tmp_path) as was_killed_here:
        assert not was_killed_here
    with pytest.raises(ValueError, match="compiler"), only_build_in(tmp_path):
        raise ValueError("the compiler's error")
    with only_build_in(tmp_path) as was_killed_here:
        assert not was_killed_here
        left = (tmp_path / "retune.lock").read_text()
    (tmp_path / "retune.lock").write_text(left)
    with only_build_in(tmp_path) as was_killed_here:
        assert was_killed_here
    (tmp_path / "retune.lock").write_text("another machine")
    with only_build_in(tmp_path) as was_killed_here:
        assert not was_killed_here


@pytest.mark.parametrize("held", [False, True])
def test_where_there_are_no_locks_a_build_goes_on(tmp_path, monkeypatch, caplog, held):
    def refuse(_, how):
        if how & fcntl.LOCK_NB and held:
            raise BlockingIOError
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("retune.launching.build_folders.fcntl.flock", refuse)
    with only_build_in(tmp_path):
        pass
    assert "no locks on its file system (No locks available)" in caplog.text
