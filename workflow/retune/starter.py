"""A step that outlives what started it ends, as on SIGTERM.

Nobody would use its result: the next run of Snakemake removes what an unfinished job
has left. So the workflow names in RETUNE_STARTED_BY the processes to live with. Who
starts a step by hand may leave before it has ended.
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
# By this a process asks itself to end. A number of its own: SIGTERM may have come
# before, and a second one would end a training without saving it.
GONE = signal.SIGRTMIN + 1
LOOK_S = 1.0


class Starter:
    """The processes that started this one."""

    def __init__(self, named: str) -> None:
        """Look for them.

        Args:
            named: Their numbers, with spaces between them.
        """
        self._began = {int(word): beginning_of(int(word)) for word in named.split()}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._began)

    def gone(self) -> int | None:
        """Return the number of one that has ended, None if there is none."""
        for number, began in self._began.items():
            if began is None or beginning_of(number) != began:
                return number
        return None


@cache
def starter() -> Starter:
    """Return what started this process; asked early, it is right ever after."""
    return Starter(os.environ.get(STARTED_BY, ""))


def beginning_of(number: int) -> str | None:
    """Return when a process began, which no later one of its number did.

    None if it has ended.
    """
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def end_with_starter() -> None:
    """Have this process send itself GONE once what started it has ended."""
    if starter():
        threading.Thread(target=watch, args=(starter(),), daemon=True).start()


def watch(started_by: Starter) -> None:
    """Wait until one has ended, then tell the main thread."""
    while (number := started_by.gone()) is None:
        time.sleep(LOOK_S)
    log.error("process %d, which started this step, has ended: ending, too", number)
    # The main thread: it may wait for something that only a signal interrupts.
    signal.pthread_kill(threading.main_thread().ident, GONE)
