"""The command line of this Snakemake, with its profile."""

import contextlib
import io
from argparse import Namespace

from snakemake.cli import parse_args


def parse_command_line(arguments: list[str]) -> Namespace | None:
    """Return the values of Snakemake's options, None if it was started in another way.

    Args:
        arguments: Of the command `snakemake`.
    """
    try:
        # It says which profile it reads, which Snakemake has said already.
        with contextlib.redirect_stderr(io.StringIO()):
            _, values = parse_args(arguments)
    except SystemExit:
        return None
    return values
