"""`python -m retune COMMAND`: a subcommand per step, and one that explains reruns.

Each is one library function: `run` of the module of the same name.

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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from retune import __version__
from retune.errors import RetuneError
from retune.params import describe_problems
from retune.settings import (
    ConfigureSettings,
    ConsolidateSettings,
    DatasetSettings,
    EvaluateSettings,
    FinetuneSettings,
    HardwareSettings,
    ModelSettings,
    Params,
    PrepareSettings,
    Settings,
    TokenizeSettings,
)
from retune.steps import CODE

log = logging.getLogger("retune")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    arguments = vars(build_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        if command in CODE:
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
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    log.info("retune %s %s", __version__, step)
    for name, value in arguments.items():
        log.info("  %s: %s", name, value)
    start = time.monotonic()
    # What libraries print belongs into the log; stdout is the progress bar's.
    with contextlib.redirect_stdout(sys.stderr):
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

    def add(
        step: str, summary: str, *paths: str, settings: type[Settings] | None = None
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(step, help=summary, description=summary)
        if settings:
            command.add_argument(
                "--settings",
                type=settings_type(settings),
                required=True,
                metavar="JSON",
                help="this step's section of params.yaml",
            )
        for path in paths:
            name = f"--{path.replace('_', '-')}"
            command.add_argument(name, type=Path, required=True, metavar="PATH")
        return command

    add(
        "download",
        "Bring the dataset here, checked and pinned.",
        "raw",
        settings=DatasetSettings,
    )
    add(
        "fetch",
        "Bring the base model here, checked and pinned.",
        "base",
        settings=ModelSettings,
    )
    add(
        "prepare",
        "Validate, deduplicate and split the text.",
        "raw",
        "clean",
        "metrics",
        settings=PrepareSettings,
    )
    add(
        "tokenize",
        "Turn the text into blocks of tokens, once.",
        "clean",
        "base",
        "tokens",
        "metrics",
        settings=TokenizeSettings,
    )
    configure = add(
        "configure",
        "Resolve batch sizes, precision and ZeRO stage into a DeepSpeed config.",
        "base",
        "token_metrics",
        "plan",
        settings=ConfigureSettings,
    )
    configure.add_argument(
        "--hardware",
        type=settings_type(HardwareSettings),
        required=True,
        metavar="JSON",
        help="the hardware section of params.yaml",
    )
    add(
        "finetune",
        "Fine-tune with DeepSpeed on the ranks of the plan.",
        "base",
        "tokens",
        "plan",
        "state",
        "checkpoint",
        "history",
        "validation",
        "provenance",
        "metrics",
        settings=FinetuneSettings,
    )
    add(
        "consolidate",
        "Turn the checkpoint's shards into one model, verified.",
        "base",
        "checkpoint",
        "consolidated",
        settings=ConsolidateSettings,
    )
    baseline = add(
        "baseline",
        "Evaluate the base model.",
        "base",
        "clean",
        "documents",
        "metrics",
        settings=EvaluateSettings,
    )
    evaluate = add(
        "evaluate",
        "Evaluate the tuned model and compare it with the base model.",
        "consolidated",
        "base",
        "clean",
        "tokens",
        "baseline_documents",
        "baseline_metrics",
        "documents",
        "samples",
        "metrics",
        settings=EvaluateSettings,
    )
    for command in (baseline, evaluate):
        command.add_argument(
            "--accelerator",
            choices=get_args(HardwareSettings.model_fields["accelerator"].annotation),
            required=True,
            help="hardware.accelerator of params.yaml",
        )
    add(
        "report",
        "Draw the figures, write the model card, publish the tuned model.",
        "raw",
        "base",
        "data_metrics",
        "token_metrics",
        "plan",
        "history",
        "validation",
        "finetune_metrics",
        "consolidated",
        "baseline_metrics",
        "baseline_documents",
        "tuned_documents",
        "evaluation",
        "samples",
        "provenance",
        "tuned",
        "report",
        settings=Params,
    )
    summary = "Show which steps a changed setting of params.yaml reruns."
    explain = commands.add_parser("explain-reruns", help=summary, description=summary)
    explain.add_argument(
        "name",
        nargs="?",
        metavar="SETTING",
        help="one setting, as in finetune.learning_rate, or one section; else all",
    )
    return parser


def settings_type(model: type[Settings]) -> Callable[[str], Settings]:
    """Return an argparse type that reads `model` from JSON and says what is wrong."""

    def parse(text: str) -> Settings:
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(describe_problems(error, model))
            raise argparse.ArgumentTypeError(problems) from error

    return parse
