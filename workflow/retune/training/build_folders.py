"""PyTorch's folders of compiled extensions, of which a killed build leaves one locked.

PyTorch's lock of such a folder is a file that exists (torch.utils.file_baton): it waits
for its end without limit, also when who made it is dead.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

# A build that nobody here sees, on another machine or in another container, changes its
# folder more often: each object file takes a minute or two.
QUIET_S = 600.0
POLL_S = 0.2


def build_folder(extension: str) -> Path:
    """Return where PyTorch builds an extension, and keeps it; it is made if missing."""
    from torch.utils.cpp_extension import _get_build_directory

    return Path(_get_build_directory(extension, verbose=False))


@contextmanager
def only_build_in(parent: Path) -> Iterator[bool]:
    """Let one run at a time build below a folder, on all machines that share it.

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
    """Lock a file, if its file system can; PyTorch's own lock must do otherwise."""
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run builds in %s: waiting for it", parent)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("%s: no locks on its file system (%s)", parent, error.strerror)


def this_machine() -> str:
    """Return what two processes share that can see each other, until the next boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def remove_left_lock(folder: Path, quiet: float) -> None:
    """Remove a lock of which nobody is left; wait for whoever still builds there.

    Args:
        folder: Where one extension is built.
        quiet: Seconds without a process or a change there after which it was left.
    """
    lock = folder / "lock"
    last, since = None, time.monotonic()
    said = False
    while lock.exists():
        builders = processes_in(folder)
        if builders or (now := changes_in(folder)) != last:
            last, since = None if builders else now, time.monotonic()
        if not builders and time.monotonic() - since >= quiet:
            log.warning("%s: removed; the build that left it has ended", lock)
            lock.unlink(missing_ok=True)
            return
        if not said:
            who = f"process {builders[0]}" if builders else "nobody on this machine"
            log.info(
                "%s is the lock of a build by %s: waiting until it ends, or for"
                " %.0f min without a change there",
                *(lock, who, quiet / 60),
            )
            said = True
        time.sleep(POLL_S)


def processes_in(folder: Path) -> list[int]:
    """Return the processes of this machine that work or have a file open in a folder.

    The compilers work in it; who has PyTorch's lock keeps it open.
    """
    folder = folder.resolve()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            links = [process / "cwd", *(process / "fd").iterdir()]
            if any(is_in(link, folder) for link in links):
                found.add(int(process.name))
    return sorted(found - {os.getpid()})


def is_in(link: Path, folder: Path) -> bool:
    """Return whether a link of /proc points to a folder or into it."""
    target = os.readlink(link)
    return target == str(folder) or target.startswith(f"{folder}{os.sep}")


def changes_in(folder: Path) -> set[tuple[str, int, int]]:
    """Return name, size and time of each file, which a build changes."""
    found = set()
    for path in folder.iterdir():
        with suppress(OSError):  # it has just been removed
            status = path.stat()
            found.add((path.name, status.st_size, status.st_mtime_ns))
    return found
