"""Calls of DVC and of a second Snakemake."""

import os
import subprocess
import sys

from retune.errors import RetuneError

# Set in the Snakemake that this package starts: it must not start another.
NESTED = "RETUNE_DVC_NESTED"


class DoubtError(RetuneError):
    """DVC's state or Snakemake's cannot be known; the message says why."""


def call_dvc(*arguments: str) -> str:
    """Run a DVC command; return its standard output.

    Raises:
        DoubtError: With DVC's own reason, in one line.
    """
    code, output, errors = run("dvc", *arguments, DVC_NO_ANALYTICS="1")
    if code:
        raise DoubtError(reason_in(errors))
    return output


def call_snakemake(snakefile: str, *arguments: str) -> str:
    """Run Snakemake here, without this package; return its standard output.

    Args:
        snakefile: That of the run.
        *arguments: What else it is called with.

    Raises:
        DoubtError: With the end of its messages.
    """
    options = ("--nolock", "--snakefile", snakefile)
    code, output, errors = run("snakemake", *options, *arguments, **{NESTED: "1"})
    if code:
        last = (errors.strip().splitlines() or ["no reason given"])[-1]
        raise DoubtError(f"snakemake {arguments[0]}: {last}")
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


def reason_in(text: str) -> str:
    """Return the error in DVC's messages as one line."""
    if "Unable to acquire lock" in text:
        return "another DVC command is at work"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if line.startswith("ERROR:")), 0)
    # "... is busy, it is being blocked by:" names the blocker on the next line.
    end = start + (2 if lines and lines[start].endswith(":") else 1)
    return " ".join(lines[start:end]).removeprefix("ERROR: ") or "it gave no reason"
