"""The subcommand `plan`, which is no step: it writes no file."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Reasons
from retune.artifacts.tokens_index import TokenMetrics
from retune.cli.step_settings import read_settings_file
from retune.errors import RetuneError
from retune.planning.aligned_table import aligned
from retune.planning.choice import kind_of, verdict
from retune.planning.choice_page import others_section, speed_section
from retune.planning.explanation import plan_page
from retune.planning.given_plan import take_given
from retune.planning.hardware import resolve_hardware
from retune.planning.search import Trace, Training
from retune.planning.strategy import refuse
from retune.settings import FinetuneSettings, HardwareSettings, Params
from retune.units import GB

if TYPE_CHECKING:
    from retune.steps.configure import PlannedTraining

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
    asked = list(asked_for(params.hardware, given.gpu_memory, given.gpus))
    with planned_model(params.model, given.model, BASE) as (folder, facts):
        data = training_data(params, facts, folder)
        machines = resolve_hardware(params.hardware)
        training, trace = to_plan(
            *(params.configure, params.finetune, machines, folder, facts, data)
        )

        def plan(hardware: HardwareSettings) -> "PlannedTraining":
            return planned(training, trace, folder, hardware)

        if asked:
            print(comparison(plan, asked), end="")
        else:
            price = params.hardware.price_per_gpu_hour
            page = page_of(plan(params.hardware), params.finetune, data[1], price)
            print(page, end="")


def planned(
    training: Training, trace: Trace, folder: Path, hardware: HardwareSettings
) -> "PlannedTraining":
    """Return what `configure` would plan on some hardware.

    Args:
        training: The training, on any hardware.
        trace: Function that returns what a plan's passes take and do.
        folder: Folder with the model's config.json.
        hardware: The section `hardware`.

    Raises:
        RetuneError: If it cannot be planned there.
    """
    from retune.steps.configure import plan_prepared

    given = take_given(training.settings, hardware)
    if given:
        refuse(list(given.problems))
        training = replace(training, settings=given.settings)
    training = replace(training, hardware=resolve_hardware(hardware))
    return plan_prepared(training, trace, folder, given)


def training_data(params: Params, facts: ModelFacts, folder: Path) -> tuple[int, int]:
    """Return the tokens of a training sequence, and the number of sequences or 0.

    The number is known once `tokenize` has run in this project, with the model of the
    settings and the same length.

    Args:
        params: All settings.
        facts: Facts of the model.
        folder: Folder of the model; that of the project if it is the one of `fetch`.
    """
    from retune.tokens.lengths import LONGEST_AUTO_SEQUENCE, resolve_length

    length = resolve_length(
        *("tokenize.sequence_length", params.tokenize.sequence_length),
        *(facts, LONGEST_AUTO_SEQUENCE),
    )
    if folder != BASE:
        return length, 0
    try:
        tokens = TokenMetrics.read_verified(TOKENS)
    except (RetuneError, FileNotFoundError):
        return length, 0
    is_same = tokens.sequence_length == length
    return length, tokens.splits["train"].blocks if is_same else 0


def asked_for(
    hardware: HardwareSettings, memories: list[float], gpus: list[int]
) -> Iterator[HardwareSettings]:
    """Yield the hardware of each line, the least first; none if none is asked for.

    Args:
        hardware: The section `hardware`.
        memories: Sizes of GPUs, GB.
        gpus: Numbers of GPUs.

    Raises:
        RetuneError: If the ranks are CPUs, or a number of GPUs fills no whole nodes.
    """
    if not memories and not gpus:
        return
    machines = resolve_hardware(hardware)
    if machines.accelerator == "cpu":
        raise RetuneError(
            "hardware.accelerator: cpu, but --gpu-memory and --gpus ask about GPUs;"
            " write cuda"
        )
    of_node = machines.ranks_per_node
    for number in sorted(gpus) or [machines.world_size]:
        if number > of_node and number % of_node:
            raise RetuneError(
                f"--gpus {number}: no whole nodes of {of_node} GPUs"
                " (hardware.ranks_per_node)"
            )
        nodes = max(1, number // of_node)
        ranks = {"nodes": nodes, "ranks_per_node": number // nodes}
        sizes: list[float | Literal["auto"]] = [*sorted(memories)]
        for memory in sizes or [hardware.gpu_memory_gb]:
            yield hardware.model_copy(
                update={"accelerator": "cuda", "gpu_memory_gb": memory, **ranks}
            )


def comparison(
    plan: "Callable[[HardwareSettings], PlannedTraining]",
    asked: list[HardwareSettings],
) -> str:
    """Return a table with the strategy that each hardware would have."""
    rows: list[tuple[str, ...]] = [HEAD]
    for hardware in asked:
        machines = resolve_hardware(hardware)
        memory = machines.gpu_memory_gb
        there = (str(machines.world_size), "" if memory is None else f"{memory:g}")
        try:
            found = plan(hardware)
        except RetuneError as error:
            first, *more = str(error).splitlines()
            rows.append((*there, "", "", "", (more or [first])[0].strip()))
            continue
        rows.append((*there, *cells(found)))
    return aligned(rows, range(5))


def cells(found: "PlannedTraining") -> tuple[str, ...]:
    """Return what the plan of a hardware takes, and what it is."""
    chosen, plan = found.search.chosen, found.plan
    assert chosen
    strategy = f"{kind_of(plan)}, micro-batch {plan.micro_batch_size}"
    taken = f"{found.memory.peak_bytes / GB:.1f}"
    if chosen.missing:
        return taken, "", "", f"{strategy}, {verdict(chosen, chosen)}"
    seconds = chosen.time.seconds
    return (
        taken,
        f"{seconds:.3g}",
        f"{seconds * plan.world_size:.3g}",
        strategy,
    )


def page_of(
    found: "PlannedTraining",
    finetune: FinetuneSettings,
    blocks: int,
    price: float | None,
) -> str:
    """Return the plan as text.

    Args:
        found: What is planned.
        finetune: The section `finetune`.
        blocks: Number of training sequences; 0: not known.
        price: Price of a GPU for an hour; None: not known.
    """
    from retune.training.schedules import num_steps

    plan = found.plan
    steps = num_steps(finetune, blocks, plan.global_batch_size) if blocks else 0
    reasons = Reasons(
        decisions=found.decisions,
        warnings=found.warnings,
        train_blocks=blocks,
        memory=found.memory,
        step_seconds=found.search.step_seconds,
        gpu_name=found.machines.gpu_name,
        gpu_memory_gb=found.machines.gpu_memory_gb,
    )
    return (
        f"{plan_page(plan, reasons)}"
        f"{speed_section(found.search, 'The whole run', steps, price)}"
        f"{others_section(found.search)}"
    )
