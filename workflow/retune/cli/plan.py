"""The subcommand `plan`, which is no step: it writes no file."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Reasons
from retune.artifacts.tokens_index import TokenMetrics
from retune.cli.step_settings import read_settings_file
from retune.errors import RetuneError
from retune.planning.aligned_table import aligned
from retune.planning.choice import kind_of
from retune.planning.choice_page import others_section, speed_section
from retune.planning.explanation import plan_page
from retune.planning.hardware import Hardware, resolve_hardware
from retune.planning.search import Search, Trace, Training, search
from retune.settings import Params
from retune.units import GB

NAME = "plan"
SUMMARY = "Show the strategy that configure would choose, with nothing run before."
EXAMPLE = (
    f"python -m retune {NAME} params.yaml --gpu-memory 24,48,80\n\n"
    "It needs no GPU, and of the model nothing but its config.json."
)
# What a project may have made already.
BASE, TOKENS = Path("models/base"), Path("metrics/tokens.json")
HEAD = ("GPUs", "GB each", "GB taken", "s/step", "GPU-s/step", "strategy")


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    command.add_argument(
        "params", type=Path, metavar="FILE", help="params.yaml, or a file like it."
    )
    command.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="Folder of a model, or its config.json, in place of the model in FILE. Of"
        " one on the hub that fetch has not brought yet, config.json is downloaded.",
    )
    command.add_argument(
        "--gpu-memory",
        type=numbers,
        default=[],
        metavar="GB,GB",
        help="Which card do I need? A line for GPUs of each size.",
    )
    command.add_argument(
        "--gpus",
        type=whole_numbers,
        default=[],
        metavar="N,N",
        help="How many do I need? A line for each number; more than"
        " hardware.ranks_per_node are on several nodes.",
    )


def numbers(text: str) -> list[float]:
    """Return the numbers that an option lists.

    Raises:
        argparse.ArgumentTypeError: If it is no list of numbers above 0.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < value < float("inf") for value in found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list such as 24,48,80")
    return found


def whole_numbers(text: str) -> list[int]:
    """Return the whole numbers that an option lists.

    Raises:
        argparse.ArgumentTypeError: If it is no list of whole numbers from 1.
    """
    found = numbers(text)
    if any(value % 1 for value in found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list such as 1,2,4")
    return [int(value) for value in found]


def run(given: argparse.Namespace) -> None:
    """Print the plan to stdout, or a line for each hardware that is asked for.

    Raises:
        RetuneError: If settings, model and machines do not go together, or nothing
            fits.
    """
    # They need torch, which takes seconds to import.
    from retune.models.planned_model import planned_model
    from retune.steps.configure import to_plan

    params = read_settings_file(given.params)
    machines = resolve_hardware(params.hardware)
    with planned_model(params.model, given.model, BASE) as (folder, facts):
        data = training_data(params, facts)
        training, trace = to_plan(
            *(params.configure, params.finetune, machines, folder, facts, data)
        )
        asked = list(asked_for(machines, given.gpu_memory, given.gpus))
        if asked:
            print(comparison(training, trace, asked), end="")
        else:
            print(page(params, training, search(training, trace)), end="")


def training_data(params: Params, facts: ModelFacts) -> tuple[int, int]:
    """Return the tokens of a training sequence, and the number of sequences or 0.

    The number is known once `tokenize` has run with the same length.
    """
    from retune.tokens.lengths import LONGEST_AUTO_SEQUENCE, resolve_length

    length = resolve_length(
        *("tokenize.sequence_length", params.tokenize.sequence_length),
        *(facts, LONGEST_AUTO_SEQUENCE),
    )
    try:
        tokens = TokenMetrics.read_verified(TOKENS)
    except (RetuneError, FileNotFoundError):
        return length, 0
    is_same = tokens.sequence_length == length
    return length, tokens.splits["train"].blocks if is_same else 0


def asked_for(
    machines: Hardware, memories: list[float], gpus: list[int]
) -> Iterator[Hardware]:
    """Yield the hardware of each line, the least first; none if none is asked for.

    Args:
        machines: The hardware of the settings.
        memories: Sizes of GPUs, GB.
        gpus: Numbers of GPUs.

    Raises:
        RetuneError: If the ranks are CPUs, or a number of GPUs fills no whole nodes.
    """
    if not memories and not gpus:
        return
    if machines.accelerator == "cpu":
        raise RetuneError(
            "hardware.accelerator: cpu, but --gpu-memory and --gpus ask"
            " about GPUs; write cuda"
        )
    of_node = machines.ranks_per_node
    for number in sorted(gpus) or [machines.world_size]:
        if number > of_node and number % of_node:
            raise RetuneError(
                f"--gpus {number}: no whole nodes of {of_node} GPUs"
                " (hardware.ranks_per_node)"
            )
        nodes = max(1, number // of_node)
        sizes: list[float | None] = [*sorted(memories)]
        for memory in sizes or [machines.gpu_memory_gb]:
            yield replace(
                machines,
                nodes=nodes,
                ranks_per_node=number // nodes,
                gpu_memory_gb=memory,
            )


def comparison(training: Training, trace: Trace, asked: list[Hardware]) -> str:
    """Return a table with the strategy that each hardware would have."""
    rows = [HEAD]
    for hardware in asked:
        memory = hardware.gpu_memory_gb
        there = (str(hardware.world_size), "" if memory is None else f"{memory:g}")
        try:
            found = search(replace(training, hardware=hardware), trace)
        except RetuneError as error:
            why = str(error).splitlines()
            rows.append(
                (*there, "", "", "", why[1].strip() if len(why) > 1 else why[0])
            )
            continue
        assert found.chosen
        seconds = found.chosen.time.seconds
        rows.append(
            (
                *there,
                f"{found.memory.peak_bytes / GB:.1f}",
                f"{seconds:.3g}",
                f"{seconds * hardware.world_size:.3g}",
                f"{kind_of(found.plan)}, micro-batch {found.plan.micro_batch_size}",
            )
        )
    return aligned(rows, range(5))


def page(params: Params, training: Training, found: Search) -> str:
    """Return the plan as text."""
    from retune.training.schedules import num_steps

    plan, blocks = found.plan, training.train_blocks
    steps = num_steps(params.finetune, blocks, plan.global_batch_size) if blocks else 0
    reasons = Reasons(
        decisions=found.decisions,
        warnings=(),
        train_blocks=blocks,
        memory=found.memory,
        step_seconds=found.step_seconds,
        gpu_name=training.hardware.gpu_name,
    )
    price = params.hardware.price_per_gpu_hour
    return (
        f"{plan_page(plan, reasons)}"
        f"{speed_section(found, 'The whole run', steps, price)}"
        f"{others_section(found)}"
    )
