"""`python -m retune COMMAND`: a subcommand per step, and one that explains reruns.

Each is one library function: `run` of the module of the same name. A step's settings
are a file like params.yaml (`--params`), or its section of it as JSON (`--settings`).

Nothing heavy is imported before a subcommand is called: `--help` and the steps
that need no torch do not load it.
"""

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retune import __version__
from retune.errors import RetuneError
from retune.log_lines import log_lines
from retune.starter import end_with_starter
from retune.step_arguments import describe_step, example_of
from retune.step_settings import choices_of, settings_type, take_settings
from retune.steps import CODE

log = logging.getLogger("retune")

WITH_SETTINGS = "With --settings only; --params has it."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments: dict[str, Any] = {}
    try:
        arguments = vars(build_parser().parse_args(argv))
        command = arguments.pop("command")
        if command in CODE:
            take_settings(command, arguments)
            run_step(command, arguments)
        else:
            show(call(command, arguments))
    except RetuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except FileNotFoundError as error:
        if not is_argument(error.filename, arguments):
            raise
        print(f"error: {error.filename} is missing: run what makes it", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run the same command to go on", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def run_step(step: str, arguments: dict[str, Any]) -> None:
    """Run one step; stderr is its log."""
    # Libraries' own bars are no lines of a log; ours goes to the terminal.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # What libraries print belongs into the log; stdout is the progress bar's.
    with log_lines() as lines, contextlib.redirect_stdout(lines):
        logging.basicConfig(
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            datefmt="%H:%M:%S",
        )
        log.info("retune %s %s", __version__, step)
        for name, value in arguments.items():
            log.info("  %s: %s", name, value)
        end_with_starter()
        start = time.monotonic()
        result = call(step, arguments)
        log.info("%s took %.1f s", step, time.monotonic() - start)
    # The last line of a log is the step's result; the terminal shows it.
    print(f"done: {result}", file=sys.stderr)


def call(command: str, arguments: dict[str, Any]) -> str:
    """Return what the module of a command's name says."""
    module = importlib.import_module(f"retune.{command.replace('-', '_')}")
    return module.run(**arguments)


def show(text: str) -> None:
    """Print to a reader who may leave early, as `| head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # At exit Python writes out the rest, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_argument(path: str | None, arguments: dict[str, Any]) -> bool:
    """Return whether a path is one of a step's arguments, or lies in one."""
    folders = [value for value in arguments.values() if isinstance(value, Path)]
    return any(Path(path or "").is_relative_to(folder) for folder in folders)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each subcommand's options are its arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m retune",
        description="The steps of a fine-tuning run. Snakemake calls them in order:"
        " snakemake --cores all train",
    )
    parser.add_argument("--version", action="version", version=f"retune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    for step in CODE:
        add_step(commands, step)
    summary = "Show which steps a changed setting of params.yaml reruns."
    explain = commands.add_parser("explain-reruns", help=summary, description=summary)
    explain.add_argument(
        "name",
        nargs="?",
        metavar="SETTING",
        help="one setting, as in finetune.learning_rate, or one section; else all",
    )
    return parser


def add_step(commands: Any, step: str) -> None:
    """Add the subcommand of a step; its options are the arguments of its `run`."""
    description = describe_step(step)
    command = commands.add_parser(
        step,
        help=description.summary,
        description=description.summary,
        epilog=f"example:\n  {example_of(step)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--params",
        type=Path,
        metavar="FILE",
        help="params.yaml, or a file like it: this step reads of it what concerns it",
    )
    for argument in description.arguments:
        option, text = argument.option, argument.help.replace("%", "%%")
        if argument.type == "Path":
            command.add_argument(
                option, type=Path, required=True, metavar="PATH", help=text
            )
        elif argument.name == "settings":
            source.add_argument(
                option, type=settings_type(argument), metavar="JSON", help=text
            )
        elif argument.type == "str":
            command.add_argument(
                option, choices=choices_of(argument), help=f"{text} {WITH_SETTINGS}"
            )
        else:
            command.add_argument(
                option,
                type=settings_type(argument),
                metavar="JSON",
                help=f"{text} {WITH_SETTINGS}",
            )
