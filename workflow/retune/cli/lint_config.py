"""The subcommand `lint-config`, which is no step: it writes no file."""

import argparse
import re
import shutil
import sys
from pathlib import Path

from retune.linting.config_file import UnusableInputError, read_config_file
from retune.linting.finding import Training
from retune.linting.findings_text import findings_text
from retune.linting.lint import lint

NAME = "lint-config"
SUMMARY = (
    "Check a DeepSpeed config: what DeepSpeed would refuse, ignore or do otherwise."
)
EXAMPLE = (
    f"python -m retune {NAME} ds_config.json --gpus 2\n\n"
    "exit code: 0 without errors, 1 with errors, 2 if the file cannot be read"
)
# Columns of the text where it goes to no terminal, and at least.
PIPED, LEAST = 100, 60
# What a number may end with, as in 7B.
UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    command.add_argument(
        "file", type=Path, metavar="FILE", help="DeepSpeed config; - for stdin."
    )
    command.add_argument(
        "--gpus",
        type=number_of_gpus,
        required=True,
        metavar="N",
        help="Number of GPUs, on all machines together; on CPUs, of ranks.",
    )
    command.add_argument(
        "--model-parallel",
        type=number_of_gpus,
        metavar="N",
        help="GPUs that hold one copy of the model: pipeline stages times tensor"
        " parallel ranks of an mpu (pipeline.stages of the file, or 1).",
    )
    command.add_argument(
        "--accelerator",
        choices=["cuda", "cpu"],
        default="cuda",
        help="What the ranks compute on (cuda).",
    )
    command.add_argument(
        "--transformers",
        action="store_true",
        help='The Trainer of Transformers, or Accelerate, reads the config: "auto" is'
        " right where they fill in a value.",
    )
    command.add_argument(
        "--precision",
        choices=["fp32", "bf16", "fp16"],
        help='With --transformers: what they make of "auto" in bf16 and fp16.',
    )
    command.add_argument(
        "--client-optimizer",
        metavar="CLASS",
        help="Class of the optimizer that the script passes to deepspeed.initialize,"
        " such as torch.optim.AdamW or DeepSpeedCPUAdam.",
    )
    command.add_argument(
        "--parameters",
        type=number_of_parameters,
        metavar="N",
        help="Parameters of the model, such as 124M or 7B, to say which buckets are"
        " larger.",
    )


def number_of_gpus(text: str) -> int:
    """Return the number of GPUs that an option gives.

    Raises:
        argparse.ArgumentTypeError: If it is not a whole number from 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def number_of_parameters(text: str) -> float:
    """Return the number of parameters that an option gives.

    Raises:
        argparse.ArgumentTypeError: If it is not a number above 0.
    """
    found = re.fullmatch(r"(\d+\.?\d*(?:e\d{1,2})?)([KMBT]?)", text, re.IGNORECASE)
    parameters = float(found[1]) * UNITS[found[2].upper()] if found else 0
    if not parameters:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of parameters, such as 7B, 124M or 124e6"
        )
    return parameters


def run(given: argparse.Namespace) -> int:
    """Print the findings to stdout, if there are any.

    Returns:
        The exit code: 1 if there are errors, else 0.

    Raises:
        UnusableInputError: If the file is no DeepSpeed config at all, or options
            contradict each other.
    """
    check_options(given)
    training = Training(
        gpus=given.gpus,
        accelerator=given.accelerator,
        transformers=given.transformers,
        client_optimizer=given.client_optimizer,
        num_parameters=given.parameters,
        model_parallel=given.model_parallel,
        precision=given.precision,
    )
    try:
        config, findings = read_config_file(given.file, given.transformers)
        findings += lint(config, training)
    except RecursionError as depth:
        raise UnusableInputError(f"{given.file}: objects or lists too deep") from depth
    if findings:
        width = max(shutil.get_terminal_size((PIPED, 24)).columns, LEAST)
        encoding = sys.stdout.encoding or "utf-8"
        text = findings_text(findings, width)
        print(text.encode(encoding, "backslashreplace").decode(encoding))
    return int(any(found.severity == "error" for found in findings))


def check_options(given: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Raises:
        UnusableInputError: If they do not.
    """
    if given.precision and not given.transformers:
        raise UnusableInputError(
            "--precision is for --transformers; else the file says it"
        )
    if given.gpus % (given.model_parallel or 1):
        raise UnusableInputError(
            f"--model-parallel {given.model_parallel}: {given.gpus} GPUs do not make"
            " whole copies of the model"
        )
