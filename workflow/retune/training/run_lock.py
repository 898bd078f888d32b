"""A lock on the folder of a training: two in one folder would spoil each other."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from retune.errors import RetuneError

log = logging.getLogger(__name__)

# How long to wait for another training that holds the lock: one whose Snakemake was
# killed saves before it ends.
PATIENCE_S = 60.0
POLL_S = 0.5


@contextmanager
def only_run_in(state: Path) -> Iterator[None]:
    """Hold a lock beside a state folder; the lock file names the process.

    Args:
        state: Folder of a training's checkpoints, which need not exist.

    Raises:
        RetuneError: If another process holds the lock and does not end soon.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    lock = state.with_suffix(".lock")
    with acquire(lock, state) as handle:
        handle.truncate(0)
        print(f"{os.getpid()} on {socket.gethostname()}", file=handle, flush=True)
        yield
        lock.unlink(missing_ok=True)


def acquire(lock: Path, state: Path) -> TextIO:
    """Wait until the lock is free; return the locked file.

    Args:
        lock: The lock file.
        state: Folder that it is for, for messages.

    Raises:
        RetuneError: If another process holds the lock and does not end soon.
    """
    deadline = None
    while (handle := acquire_now(lock, state)) is None:
        if deadline is None:
            deadline = time.monotonic() + PATIENCE_S
            log.warning(
                "process %s trains exactly this: waiting up to %.0f s for its end",
                *(holder(lock), PATIENCE_S),
            )
        if time.monotonic() > deadline:
            raise RetuneError(
                f"{state}: process {holder(lock)} trains exactly this already; wait for"
                " it, or stop it by SIGTERM (it saves), then run again"
            )
        time.sleep(POLL_S)
    return handle


def acquire_now(lock: Path, state: Path) -> TextIO | None:
    """Return the locked file; None if another process holds the lock.

    Args:
        lock: The lock file.
        state: Folder that it is for, for messages.

    Raises:
        RetuneError: If the file system has no locks.
    """
    handle = lock.open("a+", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last process that held it has removed the file if its training is
        # published.
        if os.path.samestat(os.fstat(handle.fileno()), lock.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        handle.close()
        raise RetuneError(
            f"{state}: its file system has no locks ({error.strerror}), so two runs"
            " could spoil each other; link state/ to one that has them"
        ) from None
    handle.close()
    return None


def trained_by(state: Path) -> str | None:
    """Return the process that trains in a folder now, as in `4711 on node-a`, if any.

    Args:
        state: Folder of a training's checkpoints.
    """
    lock = state.with_suffix(".lock")
    try:
        with lock.open("r+", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return holder(lock)
    except OSError:  # There is no lock, or the file system has none.
        return None
    return None


def holder(lock: Path) -> str:
    """Return the process that holds a lock, as in `4711 on node-a`."""
    try:
        return lock.read_text(encoding="utf-8").strip() or "?"
    except FileNotFoundError:  # just removed
        return "?"
