"""The entry point of `python -m retune STEP`."""

import signal
import sys
from types import FrameType

# Ctrl-C comes to all programs of a job at once, also to one that still imports.
try:
    from retune.supervision.starter import GONE
    from retune.terminal.closed_terminal import can_be_handled, leave_closed_terminal

    def leave(number: int, frame: FrameType | None) -> None:
        """Exit as after an error: ranks are ended and half-written folders removed."""
        leave_closed_terminal()
        sys.exit(128 + (signal.SIGTERM if number == GONE else number))

    for number in (signal.SIGTERM, signal.SIGHUP, GONE):
        if can_be_handled(number):
            signal.signal(number, leave)

    from retune.cli.main import main

    sys.exit(main())
except KeyboardInterrupt:  # Nothing has begun, so there is nothing to say.
    sys.exit(128 + signal.SIGINT)
