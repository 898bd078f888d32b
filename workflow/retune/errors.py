"""The exceptions for problems that a user can mend."""

import os
import signal


class RetuneError(Exception):
    """A problem that the user can mend.

    The text says what is wrong, where, and what would be right. The command line prints
    it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class Stopped(RetuneError):
    """A signal ended a step early; the same command goes on from there.

    The exit code is 75 (EX_TEMPFAIL of sysexits.h) if the work was saved first.
    """

    def __init__(self, message: str, exit_code: int = os.EX_TEMPFAIL) -> None:
        """Make the exception.

        Args:
            message: What was stopped, and where it will go on.
            exit_code: Exit code of the command.
        """
        super().__init__(message)
        self.exit_code = exit_code


def ended_at_once(number: signal.Signals) -> Stopped:
    """Return the exception for a second signal, which ends a step without saving."""
    return Stopped(
        f"ended at once on a second signal, {number.name}; run the same command to go"
        " on from the last checkpoint",
        128 + number,
    )
