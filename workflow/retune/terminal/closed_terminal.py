"""What to do when the terminal is closed, or its connection drops (SIGHUP)."""

import os
import signal
import stat

# The numbers of standard input, output and error.
STANDARD = (0, 1, 2)


def can_be_handled(number: int) -> bool:
    """Return whether a handler may be set for a signal.

    Under `nohup` SIGHUP is ignored, and has to stay so.
    """
    return number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN


def leave_closed_terminal() -> None:
    """Send what is still printed to /dev/null if its terminal is closed.

    Otherwise each write would be an error, which could keep a checkpoint from being
    saved.
    """
    for number in STANDARD:
        # A closed terminal is still a device, but `isatty` is false.
        if is_device(number) and not os.isatty(number):
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            os.close(nowhere)


def is_device(number: int) -> bool:
    """Return whether an open file is a device such as a terminal."""
    try:
        return stat.S_ISCHR(os.fstat(number).st_mode)
    except OSError:
        return False
