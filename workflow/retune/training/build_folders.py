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

log = logging.getLogger(__name__)

# How long a lock that nobody here holds may be another machine's: loading what is
# compiled takes a second or two.
PATIENCE_S = 30.0
POLL_S = 0.2


def build_folder(extension: str) -> Path:
    """Return where PyTorch builds an extension, and keeps it; it is made if missing."""
    from torch.utils.cpp_extension import _get_build_directory

    return Path(_get_build_directory(extension, verbose=False))


@contextmanager
def only_build_in(parent: Path) -> Iterator[None]:
    """Let one run at a time build below a folder, on all machines that share it."""
    with (parent / "retune.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run builds in %s: waiting for it", parent)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:  # PyTorch's own lock must do
            log.warning("%s: no locks on its file system (%s)", parent, error.strerror)
        yield


def remove_left_lock(folder: Path, patience: float = PATIENCE_S) -> None:
    """Remove a lock of which nobody is left; wait for whoever still builds there.

    Args:
        folder: Where one extension is built.
        patience: Seconds in which a lock that no process here holds must have gone.
    """
    lock = folder / "lock"
    deadline = time.monotonic() + patience
    said = False
    while lock.exists():
        builders = processes_in(folder)
        if builders:
            deadline = time.monotonic() + patience
        elif time.monotonic() > deadline:
            log.warning("%s: removed; the build that left it behind has ended", lock)
            lock.unlink(missing_ok=True)
            return
        if not said:
            who = f"of process {builders[0]}" if builders else "of nobody here"
            log.info("%s: a build's lock, %s: waiting for its end", lock, who)
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
