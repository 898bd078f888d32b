"""A lock on the folder of a training: two in one would spoil each other."""

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

# How long to wait for a training that may be saving before it ends, as one does whose
# Snakemake was killed.
PATIENCE_S = 60.0
BETWEEN_TRIES_S = 0.5


@contextmanager
def only_run_in(state: Path) -> Iterator[None]:
    """Hold a lock beside a state folder; it names who holds it.

    Raises:
        RetuneError: If another process holds it and does not end soon.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    lock = state.with_suffix(".lock")
    with take(lock, state) as handle:
        handle.truncate(0)
        print(f"{os.getpid()} on {socket.gethostname()}", file=handle, flush=True)
        yield
        lock.unlink(missing_ok=True)


def take(lock: Path, state: Path) -> TextIO:
    """Return the locked file, once it is free."""
    deadline = None
    while (handle := try_to_take(lock, state)) is None:
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
        time.sleep(BETWEEN_TRIES_S)
    return handle


def try_to_take(lock: Path, state: Path) -> TextIO | None:
    """Return the locked file, None if another process holds it."""
    handle = lock.open("a+", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last holder has removed the file if its training is published.
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


def holder(lock: Path) -> str:
    """Return who holds a lock, as in `4711 on node-a`."""
    try:
        return lock.read_text(encoding="utf-8").strip() or "?"
    except FileNotFoundError:  # just removed
        return "?"
