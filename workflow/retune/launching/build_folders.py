"""PyTorch's folders of compiled extensions, and the locks that killed builds leave."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from retune.compat.pytorch_extensions import LOCK

log = logging.getLogger(__name__)

# A build on another machine or in another container cannot be seen here, but it changes
# its folder more often than this: each object file takes a minute or two.
QUIET_S = 600.0
POLL_S = 0.2


@contextmanager
def only_build_in(parent: Path) -> Iterator[bool]:
    """Let one run at a time build below a folder, on all machines that share it.

    Args:
        parent: The folder.

    Yields:
        Whether the last build there was killed, on this machine.
    """
    with (parent / "retune.lock").open("a+") as file:
        wait_for_lock(file, parent)
        file.seek(0)
        was_killed_here = file.read() == this_machine()
        file.truncate(0)
        file.write(this_machine())
        file.flush()
        try:
            yield was_killed_here
        finally:
            file.truncate(0)


def wait_for_lock(file: TextIO, parent: Path) -> None:
    """Lock a file; where its file system cannot, only PyTorch's own locks are left."""
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run builds in %s: waiting for it", parent)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("%s: no locks on its file system (%s)", parent, error.strerror)


def this_machine() -> str:
    """Return a text that is the same for processes that can see each other.

    It changes with each boot of the machine, and between containers.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def remove_left_lock(folder: Path, quiet: float) -> None:
    """Remove a lock that a killed build has left; wait for a build that goes on.

    Args:
        folder: Folder in which one extension is built.
        quiet: Seconds without a process or a change there after which the build that
            made the lock counts as ended.
    """
    lock = folder / LOCK
    last, since = None, time.monotonic()
    is_logged = False
    while lock.exists():
        builders = processes_in(folder)
        if builders or (now := changes_in(folder)) != last:
            last, since = None if builders else now, time.monotonic()
        if not builders and time.monotonic() - since >= quiet:
            log.warning("%s: removed; the build that left it has ended", lock)
            lock.unlink(missing_ok=True)
            return
        if not is_logged:
            who = f"process {builders[0]}" if builders else "nobody on this machine"
            log.info(
                "%s is the lock of a build by %s: waiting until it ends, or for"
                " %.0f min without a change there",
                *(lock, who, quiet / 60),
            )
            is_logged = True
        time.sleep(POLL_S)


def processes_in(folder: Path) -> list[int]:
    """Return the processes of this machine that work or have a file open in a folder.

    The compilers work in it, and the process that made PyTorch's lock keeps that open.
    """
    folder = folder.resolve()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        # The process may have ended, or be another user's.
        with suppress(OSError):
            links = [process / "cwd", *(process / "fd").iterdir()]
            if any(is_in(link, folder) for link in links):
                found.add(int(process.name))
    return sorted(found - {os.getpid()})


def is_in(link: Path, folder: Path) -> bool:
    """Return whether a link of /proc points to a folder or into it."""
    target = os.readlink(link)
    return target == str(folder) or target.startswith(f"{folder}{os.sep}")


def changes_in(folder: Path) -> set[tuple[str, int, int]]:
    """Return name, size and time of each file of a folder, which a build changes."""
    found = set()
    for path in folder.iterdir():
        # The file may just have been removed.
        with suppress(OSError):
            status = path.stat()
            found.add((path.name, status.st_size, status.st_mtime_ns))
    return found
