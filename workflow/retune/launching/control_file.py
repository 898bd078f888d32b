"""How the step lets the nodes of its training know that it runs, and when to stop.

It writes a file in the folder that they share: no launcher passes every signal on, and
none ends what it has started on other machines when it is killed itself.
"""

import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from retune.artifacts.publishing import read_json, write_json
from retune.supervision.stopping import StopRequest

log = logging.getLogger(__name__)

FILE = "control.json"
# The step writes the file at least this often.
RENEW_S = 5.0
# Without a new one for so long a node leaves. On NFS a node may see a file that is a
# minute old.
LOST_S = 180.0
POLL_S = 1.0


@dataclass(frozen=True)
class ControlMessage:
    """What the step writes into the file.

    Attributes:
        attempt: Name of this start of the nodes; those of an earlier start leave.
        stops: How often the training was asked to stop.
        count: Number of messages until this one, so that each differs from the last.
    """

    attempt: str
    stops: int
    count: int


class Control:
    """The writing end, in the step."""

    def __init__(self, state: Path, attempt: str) -> None:
        """Write into a run's folder.

        Args:
            state: Folder of the run.
            attempt: Name of this start of its nodes.
        """
        self._file = state / FILE
        self._last = ControlMessage(attempt, stops=-1, count=0)
        self._written = 0.0
        self._fails = False

    def write(self, stops: int) -> None:
        """Write how often this training was asked to stop, if that is due.

        What cannot be written, as on a full disk, is written with the next call.
        """
        is_recent = time.monotonic() - self._written < RENEW_S
        if stops == self._last.stops and is_recent:
            return
        message = ControlMessage(self._last.attempt, stops, self._last.count + 1)
        try:
            write_json(self._file, vars(message))
        except OSError as error:
            if not self._fails:
                log.warning("%s cannot be written: %s", self._file, error.strerror)
            self._fails = True
            return
        self._last, self._written, self._fails = message, time.monotonic(), False


def end_earlier_nodes(state: Path) -> None:
    """Have nodes leave that outlive the step that started them, if there are any."""
    if (state / FILE).exists():
        Control(state, attempt="").write(2)


class ControlReader(threading.Thread):
    """The reading end, in a node: a thread that lasts as long as its process."""

    def __init__(self, state: Path, attempt: str, stop: StopRequest) -> None:
        """Read what the step writes.

        Args:
            state: Folder of the run.
            attempt: Name of the start that this node belongs to.
            stop: Request to stop, which gets each request of the step.
        """
        super().__init__(daemon=True)
        self._file = state / FILE
        self._attempt = attempt
        self._stop = stop

    def run(self) -> None:
        """Read until the step has gone; then end this process and its ranks."""
        last: ControlMessage | None = None
        seen = time.monotonic()
        while time.monotonic() - seen < LOST_S:
            time.sleep(POLL_S)
            try:
                message = ControlMessage(**read_json(self._file))
            except OSError:  # not there yet, or just replaced by another node (NFS)
                continue
            if message.attempt != self._attempt:
                # At first a file system may still show the file of an earlier start.
                if last is None:
                    continue
                log.error("leaving: this training was started again")
                os._exit(1)
            if message != last:
                last, seen = message, time.monotonic()
            self._pass_on(message)
        log.error("leaving: no word from the step for %.0f s", LOST_S)
        os._exit(1)

    def _pass_on(self, message: ControlMessage) -> None:
        """Ask for a stop as often as the step was asked."""
        # A scheduler may have signalled this process as well: that is the same
        # request, not a second one.
        if message.stops and not self._stop.requested:
            self._stop.ask(signal.SIGTERM)
        if message.stops > 1 and len(self._stop.received) < 2:
            self._stop.ask(signal.SIGTERM)
