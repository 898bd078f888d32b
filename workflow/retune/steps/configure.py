"""The step `configure`: settings and hardware to a complete DeepSpeed config."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from retune.artifacts.memory_prediction import MemoryPrediction
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import (
    DEEPSPEED,
    PLAN,
    REASONS,
    Decision,
    Plan,
    PlanValue,
    Reasons,
)
from retune.artifacts.publishing import write_json, write_text
from retune.artifacts.tokens_index import TokenMetrics
from retune.artifacts.verifying import WEIGHTS, verify_folder
from retune.errors import RetuneError
from retune.planning.bitsandbytes import check_bitsandbytes
from retune.planning.choice_page import others_section, speed_section
from retune.planning.complete_config import CompleteConfig, complete_config
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.explanation import plan_line, plan_page
from retune.planning.given_plan import GivenPlan, take_given
from retune.planning.hardware import Hardware, resolve_hardware
from retune.planning.memory import offloaded_bytes
from retune.planning.memory_table import in_phase, kinds_text
from retune.planning.prediction_line import prediction_line
from retune.planning.search import Search, Trace, Training, search
from retune.planning.strategy import refuse
from retune.quantities import percent
from retune.settings import (
    ConfigureSettings,
    HardwareSettings,
    PartOfSection,
    Settings,
    TrainedWeightsSettings,
    problems_across,
)
from retune.units import GB

if TYPE_CHECKING:
    from retune.engines.traces import Traces

log = logging.getLogger(__name__)

NO_ADAPTERS = TrainedWeightsSettings()
# Beside plan.md.
FIGURE = "memory.svg"


def run(
    settings: ConfigureSettings,
    hardware: HardwareSettings,
    base: Path,
    token_metrics: Path,
    plan: Path,
    trained: TrainedWeightsSettings = NO_ADAPTERS,
) -> str:
    """Write deepspeed.json, plan.json, reasons.json, plan.md and memory.svg.

    Args:
        settings: The `configure` section.
        hardware: The `hardware` section.
        base: Folder of the base model that fetch made (models/base).
        token_metrics: JSON file that tokenize wrote (metrics/tokens.json).
        plan: Folder to write into: the DeepSpeed config, and why it is so (plan).
        trained: Of the `finetune` section, which weights are trained.

    Returns:
        The strategy in one line, and what is probably a mistake, for people.

    Raises:
        RetuneError: If settings and machines do not go together.
    """
    if given := take_given(settings, hardware):
        refuse(list(given.problems))
        settings = given.settings
    # The workflow tells this step only what decides the plan; where a fast disk is
    # mounted does not, and `finetune` asks that rule.
    decisive = PartOfSection(hardware, hardware.OPERATIONAL)
    sections = {"configure": settings, "finetune": trained}
    problems = problems_across({"hardware": decisive, **sections})
    refuse([given.with_keys(line) for line in problems] if given else problems)
    verify_folder(base, "fetch", leave_out=[WEIGHTS])
    tokens = TokenMetrics.read_verified(token_metrics)
    blocks = tokens.splits["train"].blocks
    machines = resolve_hardware(hardware)
    facts = ModelFacts.read(base)
    data = tokens.sequence_length, blocks
    planned = plan_training(settings, trained, machines, base, facts, data, given)
    made, found = planned.plan, planned.search
    for warning in planned.warnings:
        log.warning("%s", warning)
    reasons = Reasons(
        decisions=planned.decisions,
        warnings=planned.warnings,
        train_blocks=blocks,
        memory=planned.memory,
        step_seconds=found.step_seconds,
        gpu_name=machines.gpu_name,
        gpu_memory_gb=machines.gpu_memory_gb,
        left_open=left_open({"configure": settings, "hardware": hardware}),
    )
    is_drawn = find_spec("matplotlib") is not None
    page = plan_page(made, reasons, FIGURE if is_drawn else None)
    steps = blocks / made.global_batch_size
    page += speed_section(found, "All training sequences once", steps)
    page += others_section(found)
    write_json(plan / DEEPSPEED, planned.config.values)
    made.write(plan / PLAN, plan / DEEPSPEED)
    reasons.write(plan / REASONS)
    write_text(plan / "plan.md", page)
    if is_drawn:
        write_figure(plan / FIGURE, planned.memory, machines.gpu_memory_gb)
    else:
        log.warning("%s is not drawn: matplotlib is not installed", FIGURE)
    by = [given.in_words(planned.config.num_auto)] if given else []
    told = [plan_line(made), prediction_line(made, reasons), *by, *planned.warnings]
    return "; ".join(filter(None, told))


def left_open(sections: Mapping[str, Settings]) -> tuple[str, ...]:
    """Return the settings that are `auto`, with their sections, sorted.

    Args:
        sections: Sections of params.yaml by name.
    """
    return tuple(
        sorted(
            f"{name}.{key}"
            for name, section in sections.items()
            for key, value in section
            if value == "auto"
        )
    )


def write_figure(
    file: Path, memory: MemoryPrediction, gpu_memory_gb: float | None
) -> None:
    """Write the figure of the memory.

    What draws it is imported by name: no training depends on it, and a change of its
    code is to rerun none.
    """
    figures = import_module("retune.reporting.memory_figure")
    style = import_module("retune.reporting.figure_style")
    write_text(
        file, style.render_with_title(figures.memory_figure(memory, gpu_memory_gb))
    )


@dataclass(frozen=True)
class PlannedTraining:
    """What `configure` writes.

    Attributes:
        plan: The plan.
        machines: The machines that it is for.
        decisions: Its values, with the reasons for them.
        config: The DeepSpeed config.
        memory: The memory that it takes.
        search: What else was considered.
        warnings: What is probably a mistake, a line each.
    """

    plan: Plan
    machines: Hardware
    decisions: tuple[Decision[PlanValue], ...]
    config: CompleteConfig
    memory: MemoryPrediction
    search: Search
    warnings: tuple[str, ...]


def plan_training(
    settings: ConfigureSettings,
    trained: TrainedWeightsSettings,
    machines: Hardware,
    base: Path,
    facts: ModelFacts,
    data: tuple[int, int],
    given: GivenPlan | None,
) -> PlannedTraining:
    """Return the plan of a training, and all that goes with it.

    Args:
        settings: The `configure` section, with what the user's config decides.
        trained: Which weights are trained.
        machines: The machines.
        base: Folder of the base model, of which only config.json is read.
        facts: Facts of the base model.
        data: Tokens of a training sequence, and the number of these; 0: not known.
        given: The user's DeepSpeed config; None if there is none.

    Raises:
        RetuneError: If settings, model and machines do not go together, or if nothing
            fits of what the settings leave open.
    """
    training, trace = to_plan(settings, trained, machines, base, facts, data)
    return plan_prepared(training, trace, base, given)


def plan_prepared(
    training: Training, trace: Trace, base: Path, given: GivenPlan | None
) -> PlannedTraining:
    """Return the plan of a training that has been prepared, and all that goes with it.

    Args:
        training: What is to be planned.
        trace: Function that returns what a plan's passes take and do.
        base: Folder of the base model, of which only config.json is read.
        given: The user's DeepSpeed config; None if there is none.

    Raises:
        RetuneError: If settings, model and machines do not go together, or if nothing
            fits of what the settings leave open.
    """
    machines, blocks = training.hardware, training.train_blocks
    of_model = cache(lambda: hidden_size(base))
    training = replace(training, given=given, hidden_size=of_model)
    try:
        found = search(training, trace)
        if problems := training.problems(found.plan):
            raise RetuneError("\n".join(problems))
    except RetuneError as error:
        raise RetuneError(given.told(str(error)) if given else str(error)) from error
    plan, decisions, memory = found.plan, found.decisions, found.memory
    config = CompleteConfig(deepspeed_config(plan))
    if given:
        config = complete_config(given, plan, of_model)
        decisions = (*given.decisions(list(decisions)), *config.decisions)
    check_cpu_memory(plan, machines)
    warnings = [*config.warnings]
    if blocks:
        warnings += batch_warnings(plan.global_batch_size, blocks)
    warnings += warnings_4bit(plan) + memory_warnings(plan, memory, machines)
    return PlannedTraining(
        plan, machines, decisions, config, memory, found, tuple(warnings)
    )


def hidden_size(base: Path) -> int:
    """Return the hidden size of the base model.

    Raises:
        RetuneError: If its config has none.
    """
    # It takes a second to import, and is seldom needed.
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        base, trust_remote_code=False, local_files_only=True
    )
    size = getattr(config.get_text_config(), "hidden_size", None)
    if not isinstance(size, int):
        raise RetuneError(
            f"configure.deepspeed_config: {config.model_type} models have no single"
            ' hidden size, which "auto" of bucket sizes follows; write numbers there'
        )
    return size


def to_plan(
    settings: ConfigureSettings,
    trained: TrainedWeightsSettings,
    machines: Hardware,
    base: Path,
    facts: ModelFacts,
    data: tuple[int, int],
) -> tuple[Training, "Traces"]:
    """Return a training that is to be planned, and what follows its passes.

    Args:
        settings: The `configure` section.
        trained: Of the `finetune` section, which weights are trained.
        machines: The machines.
        base: Folder of the base model; nothing but its config.json is read.
        facts: Facts of the base model.
        data: Tokens of a training sequence, and the number of these.

    Raises:
        RetuneError: If a package that the settings need is not installed, or the model
            cannot have such adapters.
    """
    is_8bit = settings.optim == "adamw_8bit"
    if is_8bit:
        check_bitsandbytes(f"configure.optim: {settings.optim}")
    # DeepSpeed warns where it finds no GPU, of which nothing here needs one.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # They need torch, which takes seconds to import.
    from retune.engines.traces import Traces
    from retune.models.training_skeleton import build_training_skeleton

    skeleton = build_training_skeleton(base, facts, trained.lora)
    training = Training(
        settings=settings,
        trained=trained,
        hardware=machines,
        facts=skeleton.facts,
        sequence_length=data[0],
        train_blocks=data[1],
        num_adapter_parameters=skeleton.num_adapter_parameters,
        num_4bit_parameters=skeleton.num_4bit_parameters,
        num_8bit_moments=skeleton.num_8bit_moments if is_8bit else 0,
        sizes=skeleton.sizes,
    )
    return training, Traces(skeleton)


def batch_warnings(batch_size: int, blocks: int) -> list[str]:
    """Return what in the size of the batch is probably a mistake, a line each.

    Args:
        batch_size: Sequences per optimizer step.
        blocks: Number of training sequences.
    """
    if batch_size <= blocks:
        return []
    return [
        f"configure.global_batch_size: {batch_size:,} is more than the {blocks:,}"
        f" training blocks: each step goes over them {batch_size / blocks:.2g} times,"
        " whatever finetune.epochs"
    ]


def warnings_4bit(plan: Plan) -> list[str]:
    """Return that 4 bits do not save much, if most weights are not held in them."""
    share = plan.num_4bit_parameters / plan.num_parameters
    if not 0 < share < 0.5:
        return []
    return [
        f"finetune.lora.load_in_4bit: only {percent(share)} of the parameters can be"
        " held in 4 bits; embeddings, the output head and the experts of a mixture stay"
        f" in {plan.precision}"
    ]


def memory_warnings(
    plan: Plan, memory: MemoryPrediction, hardware: Hardware
) -> list[str]:
    """Return that a rank will probably hold more than its GPU has."""
    there = hardware.gpu_memory_gb
    if there is None or plan.accelerator == "cpu" or memory.peak_bytes / GB <= there:
        return []
    why = "; weights in 4 bits cannot be sharded" if plan.num_4bit_parameters else ""
    return [
        f"hardware.gpu_memory_gb: {there:g}, but about {memory.peak_bytes / GB:.1f} GB"
        f" are predicted on each rank, {in_phase(memory.peak.name)}"
        f" ({kinds_text(memory.peak)}){why}"
    ]


def check_cpu_memory(plan: Plan, hardware: Hardware) -> None:
    """Raise RetuneError if more is offloaded than a node's main memory holds."""
    offloaded = offloaded_bytes(plan, "cpu") / plan.nodes / GB
    if hardware.cpu_memory_gb is not None and offloaded > hardware.cpu_memory_gb:
        raise RetuneError(
            f"hardware.cpu_memory_gb: {hardware.cpu_memory_gb:g}, but offloading takes"
            f" {offloaded:,.1f} GB on each node: offload less, or use more nodes"
        )
