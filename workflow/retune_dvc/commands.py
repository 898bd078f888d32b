"""Calls of DVC and of a second Snakemake."""

import os
import subprocess
import sys

from retune_dvc.dvc_internals import first_error
from retune_dvc.errors import UnknownStateError

# Set in the Snakemake that this package starts: it must not start another.
NESTED = "RETUNE_DVC_NESTED"


def call_dvc(*arguments: str) -> str:
    """Run a DVC command; return its standard output.

    Raises:
        UnknownStateError: With DVC's own reason, in one line.
    """
    code, output, errors = run("dvc", *arguments, DVC_NO_ANALYTICS="1")
    if code:
        raise UnknownStateError(first_error(errors))
    return output


def call_snakemake(snakefile: str, *arguments: str) -> str:
    """Run Snakemake here, without this package; return its standard output.

    Args:
        snakefile: Path of the Snakefile of the run.
        *arguments: Other arguments of the command.

    Raises:
        UnknownStateError: With the end of its messages.
    """
    options = ("--nolock", "--snakefile", snakefile)
    code, output, errors = run("snakemake", *options, *arguments, **{NESTED: "1"})
    if code:
        last = (errors.strip().splitlines() or ["no reason given"])[-1]
        raise UnknownStateError(f"snakemake {arguments[0]}: {last}")
    return output


def run(module: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a Python module to its end; return exit code, output and errors."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C is Snakemake's: DVC, cut short, could leave an output half moved.
        start_new_session=True,
    )
    try:
        output, errors = process.communicate()
    except KeyboardInterrupt:
        process.communicate()
        raise
    return process.returncode, output, errors
