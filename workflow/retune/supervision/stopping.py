"""Signals that ask for a stop: they raise a flag, which the training loop reads."""

import logging
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from retune.supervision.starter import GONE
from retune.terminal.closed_terminal import can_be_handled, leave_closed_terminal

log = logging.getLogger("retune")

# They come from a user, from a terminal's Ctrl-C, from SLURM's --signal=USR1@90 before
# the time limit, and from a terminal that is closed.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
# With this signal the step passes a request on to its ranks. SLURM and systemd signal
# every process of a job, so a rank may get SIGTERM as well, and must not take one
# request for two.
PASSED_ON = signal.SIGRTMIN

# What `signal.signal` returns: what a signal did before.
Handler = Callable[[int, FrameType | None], Any] | int | None


class StopRequest:
    """Whether this process was asked to stop.

    It listens from `listen` on, or inside a `with` block.

    Attributes:
        received: Signals that asked for a stop, in order, without those passed on.
        requested: Whether this process was asked to stop.
    """

    def __init__(self, at_second: Callable[[int], None] | None = None) -> None:
        """Do not listen yet.

        Args:
            at_second: Called in the signal handler with the number of a second signal.
        """
        self.received: list[signal.Signals] = []
        self.requested = False
        self._at_second = at_second
        self._earlier: dict[int, Handler] = {}

    def listen(self) -> None:
        """Listen from now on; only the main thread may call this."""
        for number in filter(can_be_handled, (*SIGNALS, PASSED_ON, GONE)):
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
            # After another request this is no second one: when a terminal is closed,
            # both the kernel and the shell send SIGHUP.
            if not self.requested:
                self.ask(signal.SIGTERM if number == GONE else signal.SIGHUP)
        else:
            self.ask(signal.Signals(number))


def ignore_stop_requests() -> None:
    """Ignore all further requests: all work is done already."""
    for number in (*SIGNALS, PASSED_ON, GONE):
        signal.signal(number, signal.SIG_IGN)


def leave_at_once(number: int) -> None:
    """End this process as a shell reports a signal: exit code 128 + its number."""
    log.error("leaving at once on a second %s", signal.Signals(number).name)
    os._exit(128 + number)
