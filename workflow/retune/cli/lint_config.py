"""The subcommand `lint-config`, which is no step: it writes no file."""

import argparse
from pathlib import Path

from retune.linting.config_file import read_config_file
from retune.linting.finding import Training
from retune.linting.findings_text import findings_text
from retune.linting.lint import lint

NAME = "lint-config"
SUMMARY = (
    "Check a DeepSpeed config: what DeepSpeed would refuse, ignore or do otherwise."
)
EXAMPLE = f"python -m retune {NAME} ds_config.json --gpus 2"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    command.add_argument(
        "file", type=Path, metavar="FILE", help="DeepSpeed config, in JSON."
    )
    command.add_argument(
        "--gpus",
        type=number_of_gpus,
        required=True,
        metavar="N",
        help="Number of GPUs, on all machines together; on CPUs, of ranks.",
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
        help='The Trainer of Transformers reads the config: "auto" is right where it'
        " fills in a value.",
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
        help="Parameters of the model, such as 124e6, to say which buckets are larger.",
    )


def number_of_gpus(text: str) -> int:
    """Return the number of GPUs that an option gives.

    Raises:
        ValueError: If it is not a whole number from 1; argparse shows it.
    """
    gpus = int(text)
    if gpus < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return gpus


def number_of_parameters(text: str) -> float:
    """Return the number of parameters that an option gives.

    Raises:
        ValueError: If it is not a number above 0; argparse shows it.
    """
    parameters = float(text)
    if not parameters > 0:
        raise argparse.ArgumentTypeError(f"{text}: above 0")
    return parameters


def run(given: argparse.Namespace) -> int:
    """Print the findings to stdout, if there are any.

    Returns:
        The exit code: 1 if there are errors, else 0.

    Raises:
        RetuneError: If the file is no DeepSpeed config at all.
    """
    training = Training(
        gpus=given.gpus,
        accelerator=given.accelerator,
        transformers=given.transformers,
        client_optimizer=given.client_optimizer,
        num_parameters=given.parameters,
    )
    findings = lint(read_config_file(given.file), training)
    if findings:
        print(findings_text(findings))
    return int(any(found.severity == "error" for found in findings))
