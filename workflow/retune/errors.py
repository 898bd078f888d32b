"""The one exception for what a user can mend."""


class RetuneError(Exception):
    """A problem the user can mend: says what, where, and what would be right.

    The command line prints its text without a traceback and exits with 1.
    """
