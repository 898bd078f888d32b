"""A terminal that is closed, or whose connection drops: SIGHUP says so."""

import os
import signal
import stat

# Standard input, output and errors.
STANDARD = (0, 1, 2)


def is_heard(number: int) -> bool:
    """Return whether this process listens to a signal; `nohup` has it ignore SIGHUP."""
    return number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN


def leave_closed_terminal() -> None:
    """Have what is still printed go nowhere, if the terminal it went to is closed.

    Each write to it would be an error, and end what is to be saved.
    """
    for number in STANDARD:
        # A closed terminal is a device still, but no terminal any more.
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
