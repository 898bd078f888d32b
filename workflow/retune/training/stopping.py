"""Signals that ask for a stop: they raise a flag, the training loop reads it."""

import logging
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType

from retune.starter import GONE
from retune.terminal import is_heard, leave_closed_terminal

log = logging.getLogger("retune")

# A user, a terminal's Ctrl-C, SLURM's --signal=USR1@90 before the time limit, and a
# terminal that is closed.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
# With this the step passes a request on to its ranks. A number of its own: SLURM and
# systemd signal every process of a job, so a rank may hear of one request twice, and
# must not take that for a second one.
PASSED_ON = signal.SIGRTMIN


class StopRequest:
    """Whether this process was asked to stop.

    `listen` begins to listen for good, `with` for a while.
    """

    def __init__(self, at_second: Callable[[int], None] | None = None) -> None:
        """Do nothing yet.

        Args:
            at_second: Called in the signal handler with the number of a second signal.
        """
        self.received: list[signal.Signals] = []
        self.requested = False
        self._at_second = at_second
        self._earlier: dict[int, Callable[[int, FrameType | None], None] | int] = {}

    def listen(self) -> None:
        """Listen from now on; only the main thread may call this."""
        for number in filter(is_heard, (*SIGNALS, PASSED_ON, GONE)):
            self._earlier[number] = signal.signal(number, self._hear)

    def __enter__(self) -> "StopRequest":
        """Listen from now on."""
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the signals do again what they did before."""
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def ask(self, number: signal.Signals) -> None:
        """Ask for a stop, as that signal would."""
        self.requested = True
        self.received.append(number)
        if len(self.received) > 1 and self._at_second:
            self._at_second(number)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == PASSED_ON:
            self.requested = True
        elif number in (GONE, signal.SIGHUP):
            leave_closed_terminal()
            # However it was asked before, this is no second request: of one terminal
            # that is closed both the kernel and the shell tell.
            if not self.requested:
                self.ask(signal.SIGTERM if number == GONE else signal.SIGHUP)
        else:
            self.ask(signal.Signals(number))


def ignore_stop_requests() -> None:
    """Let a request that comes too late pass: all work is done already."""
    for number in (*SIGNALS, PASSED_ON, GONE):
        signal.signal(number, signal.SIG_IGN)


def leave_at_once(number: int) -> None:
    """End this process as a shell reports a signal: exit code 128 + its number."""
    log.error("leaving at once on a second %s", signal.Signals(number).name)
    os._exit(128 + number)
