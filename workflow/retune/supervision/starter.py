"""A step ends, as on SIGTERM, when a process that started it has ended.

Nobody would use its result: the next run of Snakemake removes the outputs of a job that
did not finish. The workflow names in RETUNE_STARTED_BY the processes that started a
step. A step that is started by hand may outlive the shell that started it.
"""

import logging
import os
import signal
import threading
import time
from functools import cache
from pathlib import Path

log = logging.getLogger("retune")

STARTED_BY = "RETUNE_STARTED_BY"
# This signal the process sends to itself. It is not SIGTERM, because that may have come
# before, and a second SIGTERM would end a training without saving it.
GONE = signal.SIGRTMIN + 1
POLL_S = 1.0


class Starter:
    """The processes that started this one."""

    def __init__(self, named: str) -> None:
        """Remember when each process began.

        Args:
            named: Numbers of the processes, with spaces between them.
        """
        self._began = {int(word): beginning_of(int(word)) for word in named.split()}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._began)

    def gone(self) -> int | None:
        """Return the number of a process that has ended, None if there is none."""
        for number, began in self._began.items():
            if began is None or beginning_of(number) != began:
                return number
        return None


@cache
def starter() -> Starter:
    """Return the processes that started this one.

    The first call must be early, while they run; later ones return the same.
    """
    return Starter(os.environ.get(STARTED_BY, ""))


def beginning_of(number: int) -> str | None:
    """Return when a process began, in clock ticks since the boot; None if it has ended.

    A later process with the same number began at another time.
    """
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def end_with_starter() -> None:
    """Have this process send itself GONE once a process that started it has ended."""
    if starter():
        threading.Thread(target=watch, args=(starter(),), daemon=True).start()


def watch(started_by: Starter) -> None:
    """Wait until one of the processes has ended, then send GONE to the main thread."""
    while (number := started_by.gone()) is None:
        time.sleep(POLL_S)
    log.error("process %d, which started this step, has ended: ending, too", number)
    # The main thread may wait for something that only a signal to it interrupts.
    main = threading.main_thread().ident
    assert main is not None, "the main thread runs"
    signal.pthread_kill(main, GONE)
