"""How the step tells the nodes of its training that it is there, and when to stop.

By a file in the folder that they share: no launcher passes every signal on, and none
ends what it has started on other machines when it is killed itself.
"""

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from retune.publishing import read_json, write_json
from retune.training.stopping import StopRequest

log = logging.getLogger(__name__)

FILE = "control.json"
# The step writes the file at least so often.
RENEW_S = 5.0
# Without a new one for so long a node leaves. A file on NFS can be a minute old.
LOST_S = 180.0
LOOK_S = 1.0


class Control:
    """The writing end, in the step."""

    def __init__(self, state: Path, attempt: str) -> None:
        """Write into a run's folder.

        Args:
            state: Folder of the run.
            attempt: Names this start of its nodes; those of an earlier one leave.
        """
        self._file = state / FILE
        self._attempt = attempt
        self._told = -1
        self._written = 0.0
        self._count = 0
        self._fails = False

    def tell(self, stops: int) -> None:
        """Say how often this training was asked to stop.

        What cannot be written, on a full disk for one, is tried again the next time.
        """
        if stops == self._told and time.monotonic() - self._written < RENEW_S:
            return
        content = {"attempt": self._attempt, "stops": stops, "count": self._count + 1}
        try:
            write_json(self._file, content)
        except OSError as error:
            if not self._fails:
                log.warning("%s cannot be written: %s", self._file, error.strerror)
            self._fails = True
            return
        self._told, self._written, self._fails = stops, time.monotonic(), False
        self._count += 1


def end_earlier_nodes(state: Path) -> None:
    """Have nodes leave that outlive the step that started them, if there are any."""
    if (state / FILE).exists():
        Control(state, attempt="").tell(2)


class ControlReader(threading.Thread):
    """The reading end, in a node: a thread that lasts as long as its process."""

    def __init__(self, state: Path, attempt: str, stop: StopRequest) -> None:
        """Pass on what the step says.

        Args:
            state: Folder of the run.
            attempt: Names the start that this node belongs to.
            stop: Hears of each request to stop.
        """
        super().__init__(daemon=True)
        self._file = state / FILE
        self._attempt = attempt
        self._stop = stop

    def run(self) -> None:
        """Read until the step has gone; leave then, and the ranks with this process."""
        last, seen = None, time.monotonic()
        while time.monotonic() - seen < LOST_S:
            time.sleep(LOOK_S)
            try:
                content = read_json(self._file)
            except OSError:  # not there yet, or just replaced by another node (NFS)
                continue
            if content["attempt"] != self._attempt:
                if last is None:  # an earlier one's, which a file system still shows
                    continue
                log.error("leaving: this training was started again")
                os._exit(1)
            if content != last:
                last, seen = content, time.monotonic()
            self._pass_on(content)
        log.error("leaving: no word from the step for %.0f s", LOST_S)
        os._exit(1)

    def _pass_on(self, content: dict[str, Any]) -> None:
        # A scheduler may have signalled this process as well: that is the same
        # request, not a second one.
        if content["stops"] and not self._stop.requested:
            self._stop.ask(signal.SIGTERM)
        if content["stops"] > 1 and len(self._stop.received) < 2:
            self._stop.ask(signal.SIGTERM)
