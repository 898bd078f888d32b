"""The exceptions for what a user can mend."""

import os
import signal


class RetuneError(Exception):
    """A problem the user can mend: says what, where, and what would be right.

    The command line prints its text without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class Stopped(RetuneError):
    """A signal ended a step early; the same command goes on.

    The exit code is 75 (EX_TEMPFAIL of sysexits.h) when the work was saved first.
    """

    def __init__(self, message: str, exit_code: int = os.EX_TEMPFAIL) -> None:
        """Say what was stopped, and where it will go on."""
        super().__init__(message)
        self.exit_code = exit_code


def ended_at_once(number: signal.Signals) -> Stopped:
    """Return what a second signal leads to; nothing was saved for it."""
    return Stopped(
        f"ended at once on a second signal, {number.name}; run the same command to go"
        " on from the last checkpoint",
        128 + number,
    )
