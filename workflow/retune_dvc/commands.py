"""Calls of DVC and of a second Snakemake."""

import os
import subprocess
import sys

from retune_dvc.dvc_internals import first_error
from retune_dvc.dvc_process import DvcProcess, Ended, Request
from retune_dvc.errors import UnknownStateError

DVC = DvcProcess()
# Set in the Snakemake that this package starts: it must not start another.
NESTED = "RETUNE_DVC_NESTED"


def call_dvc(*arguments: str) -> str:
    """Run a DVC command; return its standard output.

    Raises:
        UnknownStateError: With DVC's own reason, in one line.
    """
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    ended = DVC.run(Request(arguments, os.getcwd(), environment))
    if ended is None:
        ended = run("dvc", *arguments, DVC_NO_ANALYTICS="1")
    if ended.code:
        raise UnknownStateError(first_error(ended.errors))
    return ended.output


def call_snakemake(snakefile: str, *arguments: str) -> str:
    """Run Snakemake here, without this package; return its standard output.

    Args:
        snakefile: Path of the Snakefile of the run.
        *arguments: Other arguments of the command.

    Raises:
        UnknownStateError: With the end of its messages.
    """
    options = ("--nolock", "--snakefile", snakefile)
    ended = run("snakemake", *options, *arguments, **{NESTED: "1"})
    if ended.code:
        last = (ended.errors.strip().splitlines() or ["no reason given"])[-1]
        raise UnknownStateError(f"snakemake {arguments[0]}: {last}")
    return ended.output


def run(module: str, *arguments: str, **environment: str) -> Ended:
    """Run a Python module to its end."""
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
    return Ended(process.returncode, output, errors)
