"""How the step tells the nodes of its training that it is there, and when to stop.

By a file in the folder that they share: no launcher passes every signal on, and none
ends what it has started on other machines when it is killed itself.
"""

import os
import signal
import threading
import time
from pathlib import Path

from retune.publishing import read_json, write_json
from retune.training.stopping import StopRequest

FILE = "control.json"
# The step writes the file at least so often.
RENEW_S = 5.0
# Without a new one for so long a node leaves. A file on NFS can be a minute old.
LOST_S = 180.0
LOOK_S = 1.0


class Control:
    """The writing end, in the step."""

    def __init__(self, state: Path) -> None:
        """Write into a run's folder."""
        self._file = state / FILE
        self._told = -1
        self._written = 0.0
        self._count = 0

    def tell(self, stops: int) -> None:
        """Say how often this training was asked to stop."""
        if stops == self._told and time.monotonic() - self._written < RENEW_S:
            return
        self._told, self._written = stops, time.monotonic()
        self._count += 1
        write_json(self._file, {"stops": stops, "count": self._count})


class ControlReader(threading.Thread):
    """The reading end, in a node: a thread that lasts as long as its process."""

    def __init__(self, state: Path, stop: StopRequest) -> None:
        """Pass on what the step says.

        Args:
            state: Folder of the run.
            stop: Hears of each request to stop.
        """
        super().__init__(daemon=True)
        self._file = state / FILE
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
            if content != last:
                last, seen = content, time.monotonic()
            # A scheduler may have signalled this process as well: that is the same
            # request, not a second one.
            if content["stops"] and not self._stop.requested:
                self._stop.ask(signal.SIGTERM)
            if content["stops"] > 1 and len(self._stop.received) < 2:
                self._stop.ask(signal.SIGTERM)
        os._exit(1)
