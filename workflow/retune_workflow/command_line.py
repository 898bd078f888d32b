"""`python -m retune_workflow COMMAND`: what depends on what, and the manual of it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from retune.errors import RetuneError
from retune_workflow import check, explain_reruns, manual


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = build_parser().parse_args(argv)
    if arguments.command == "manual":
        manual.write_manual()
        return 0
    try:
        if arguments.command == "check":
            return check.run(arguments.params, arguments.workflow_profile)
        show(explain_reruns.run(arguments.name))
    except RetuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def show(text: str) -> None:
    """Print to a reader who may leave early, as `| head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # At exit Python writes out the rest, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m retune_workflow",
        description="What the workflow knows of itself.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    summary = "Show which steps a changed setting of params.yaml reruns."
    explain = commands.add_parser("explain-reruns", help=summary, description=summary)
    explain.add_argument(
        "name",
        nargs="?",
        metavar="SETTING",
        help="one setting, as in finetune.learning_rate, or one section; else all",
    )
    summary = (
        "Check what needs no GPU before jobs are queued, and that the cluster can start"
        " them."
    )
    checked = commands.add_parser("check", help=summary, description=summary)
    for option, default, text in (
        (
            "--params",
            check.PARAMS,
            "the settings; of another file, those that are merged over params.yaml, as"
            " snakemake --configfile does",
        ),
        ("--workflow-profile", check.PROFILE, "Snakemake's profile for the cluster"),
    ):
        checked.add_argument(
            option,
            type=Path,
            default=default,
            metavar="PATH",
            help=f"{text} ({default})",
        )
    summary = "Rewrite the schema of params.yaml and the tables of config/README.md."
    commands.add_parser("manual", help=summary, description=summary)
    return parser
