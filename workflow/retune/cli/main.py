"""`python -m retune STEP`: a subcommand for each step, and a few others.

Each step's calls `run` of the module of the same name in retune/steps. A step takes its
settings from a file like params.yaml (`--params`), or its section as JSON
(`--settings`).

Nothing heavy is imported before a subcommand is called: `--help` and the steps
that need no torch do not load it.
"""

import argparse
import contextlib
import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from retune import __version__
from retune.cli import check, lint_config, plan, show_tokens
from retune.cli.step_arguments import Argument, read_signature
from retune.cli.step_settings import (
    StepValue,
    choices_of,
    model_of,
    setting_type,
    settings_type,
    step_values,
)
from retune.errors import RetuneError
from retune.imports import without_garbage_collection
from retune.step_code import STEPS
from retune.supervision.starter import end_with_starter
from retune.terminal.log_lines import log_lines

log = logging.getLogger("retune")

WITH_SETTINGS = "With --settings only; --params has it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    values: dict[str, StepValue] = {}
    try:
        given = build_parser().parse_args(argv)
        if given.step == show_tokens.NAME:
            show_tokens.run(given)
        elif given.step == plan.NAME:
            plan.run(given)
        elif given.step == lint_config.NAME:
            return lint_config.run(given)
        elif given.step == check.NAME:
            return check.run(given)
        else:
            values = step_values(given)
            run_step(given.step, values)
    except RetuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except FileNotFoundError as error:
        if not is_in_argument(error.filename, values):
            raise
        print(f"error: {error.filename} is missing: run what makes it", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run the same command to go on", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def run_step(step: str, values: dict[str, StepValue]) -> None:
    """Run one step; stderr is its log.

    Args:
        step: Name of the step.
        values: Arguments of its function `run`.
    """
    # The progress bars of libraries would fill the log; ours goes to the terminal.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # stdout is for our progress bar; what libraries print there goes to the log.
    with log_lines() as lines, contextlib.redirect_stdout(lines):
        logging.basicConfig(
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            datefmt="%H:%M:%S",
        )
        log.info("retune %s %s", __version__, step)
        for name, value in values.items():
            log.info("  %s: %s", name, value)
        end_with_starter()
        start = time.monotonic()
        with without_garbage_collection():
            module = importlib.import_module(f"retune.steps.{step}")
        result = module.run(**values)
        log.info("%s took %.1f s", step, time.monotonic() - start)
    # The last line of a log is the step's result; the terminal shows it.
    print(f"done: {result}", file=sys.stderr)


def is_in_argument(path: str | None, values: dict[str, StepValue]) -> bool:
    """Return whether a path is one of a step's arguments, or lies in one."""
    folders = [value for value in values.values() if isinstance(value, Path)]
    return any(Path(path or "").is_relative_to(folder) for folder in folders)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the options of each subcommand are its step's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m retune",
        description="The steps of a fine-tuning run. Snakemake calls them in order:"
        " snakemake --cores all train",
    )
    parser.add_argument("--version", action="version", version=f"retune {__version__}")
    commands = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    for signature in map(read_signature, STEPS):
        command = commands.add_parser(
            signature.step,
            help=signature.summary,
            description=signature.summary,
            epilog=f"example:\n  {signature.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        source = command.add_mutually_exclusive_group(required=True)
        source.add_argument(
            "--params",
            type=Path,
            metavar="FILE",
            help="params.yaml, or a file like it: this step reads of it what concerns"
            " it",
        )
        for argument in signature.arguments:
            is_source = argument.name == "settings"
            add_option((source if is_source else command).add_argument, argument)
            if is_source and (keys := sorted(model_of(argument).OPERATIONAL)):
                command.add_argument(
                    "--operational",
                    type=json.loads,
                    metavar="JSON",
                    help=f"Of these: {', '.join(keys)}. {WITH_SETTINGS}",
                )
    for other in (show_tokens, lint_config, plan, check):
        other.add_options(
            commands.add_parser(
                other.NAME,
                help=other.SUMMARY,
                description=other.SUMMARY,
                epilog=f"example:\n  {other.EXAMPLE}",
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser


def add_option(add: Callable[..., object], argument: Argument) -> None:
    """Add the option of one argument of a step.

    Args:
        add: Function `add_argument` of the step's subcommand, or of a group in it.
        argument: The argument.
    """
    option, text = argument.option, argument.help.replace("%", "%%")
    if argument.is_path:
        add(option, type=Path, required=True, metavar="PATH", help=text)
        return
    if argument.name != "settings":
        text = f"{text} {WITH_SETTINGS}"
    if argument.type == "str":
        choices = choices_of(argument)
        checked = None if choices else setting_type(argument)
        add(option, choices=choices, type=checked, help=text)
    else:
        add(option, type=settings_type(argument), metavar="JSON", help=text)
