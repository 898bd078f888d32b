"""The subcommand `check`, which is no step: it writes no file of the run."""

import argparse
import contextlib
import io
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from retune.checking.outcome import Outcome, not_checked
from retune.checking.sections import read_sections
from retune.checking.shown import line_of, problems_text
from retune.terminal.closed_pipe import while_someone_reads

NAME = "check"
SUMMARY = (
    "Check what needs no GPU before a job is queued: settings, data, model, plan,"
    " packages, compilers, memory and disk."
)
EXAMPLE = (
    f"python -m retune {NAME}\n\n"
    "All errors are told at once. Nothing is downloaded, and nothing of the run is\n"
    "changed. Run it where the run will start, in the folder of params.yaml. What a\n"
    "SLURM cluster would be asked for: python -m retune_workflow check.\n\n"
    "exit code: 0 without errors, 1 with errors"
)
SLURM = "python -m retune_workflow check compares it with the cluster"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    command.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        metavar="FILE",
        help="All settings; no other file is read beside this one (params.yaml).",
    )


def run(given: argparse.Namespace) -> int:
    """Print each check as it is done, and then all errors.

    Returns:
        The exit code: 1 if there are errors, or nobody reads them, else 0.

    Raises:
        RetuneError: If the settings file cannot be read at all.
    """
    with while_someone_reads():
        sections, outcome = read_sections(given.params)
        outcomes = show_checks([("settings", outcome)])
        # It loads torch, which the first line does not wait for.
        from retune.checking.run_checks import run_checks

        outcomes += show_checks(run_checks(sections))
        outcomes += show_checks([("SLURM request", not_checked(SLURM))])
        return end(outcomes)
    return 1


def show_checks(checks: Iterable[tuple[str, Outcome]]) -> list[Outcome]:
    """Print a line for each check and return the outcomes.

    What libraries print or log meanwhile is not shown.

    Args:
        checks: The name and the outcome of each check.
    """
    # The progress bars of libraries, and ours.
    os.environ.setdefault("TQDM_DISABLE", "1")
    outcomes: list[Outcome] = []
    checks = iter(checks)
    logging.disable(logging.CRITICAL)
    try:
        while True:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                check = next(checks, None)
            if check is None:
                return outcomes
            print(line_of(*check), flush=True)
            outcomes.append(check[1])
    finally:
        logging.disable(logging.NOTSET)


def end(outcomes: list[Outcome]) -> int:
    """Print all errors and warnings and return the exit code."""
    print(f"\n{problems_text(outcomes)}")
    return int(any(outcome.errors for outcome in outcomes))
