"""`python -m retune COMMAND`."""

import signal
import sys
from types import FrameType

from retune.starter import GONE
from retune.terminal import is_heard, leave_closed_terminal


def leave(number: int, frame: FrameType | None) -> None:
    """Leave as after an error: folders half-written are removed and ranks are ended."""
    leave_closed_terminal()
    sys.exit(128 + (signal.SIGTERM if number == GONE else number))


for number in (signal.SIGTERM, signal.SIGHUP, GONE):
    if is_heard(number):
        signal.signal(number, leave)
try:
    from retune.cli import main
except KeyboardInterrupt:  # before anything has begun: nothing to say
    sys.exit(128 + signal.SIGINT)
sys.exit(main())
