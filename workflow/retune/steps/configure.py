"""The step `configure`: settings and hardware to a complete DeepSpeed config."""

import logging
from dataclasses import replace
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
from retune.planning.complete_config import CompleteConfig, complete_config
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.explanation import plan_line, plan_page
from retune.planning.given_plan import take_given
from retune.planning.hardware import Hardware, resolve_hardware
from retune.planning.memory import offloaded_bytes
from retune.planning.memory_prediction import predict_memory
from retune.planning.memory_table import in_phase, kinds_text
from retune.planning.strategy import make_plan, refuse
from retune.quantities import percent
from retune.settings import (
    ConfigureSettings,
    HardwareSettings,
    PartOfSection,
    TrainedWeightsSettings,
    problems_across,
)
from retune.units import GB

if TYPE_CHECKING:
    from retune.models.training_skeleton import TrainingSkeleton

log = logging.getLogger(__name__)

NO_ADAPTERS = TrainedWeightsSettings()


def run(
    settings: ConfigureSettings,
    hardware: HardwareSettings,
    base: Path,
    token_metrics: Path,
    plan: Path,
    trained: TrainedWeightsSettings = NO_ADAPTERS,
) -> str:
    """Write deepspeed.json, plan.json, reasons.json and plan.md.

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
    length = tokens.sequence_length
    try:
        made, decisions, skeleton = plan_of(
            settings, trained, machines, base, facts, length, blocks
        )
    except RetuneError as error:
        raise RetuneError(given.told(str(error)) if given else str(error)) from error
    complete = CompleteConfig(deepspeed_config(made))
    if given:
        made = given.in_plan(made)
        complete = complete_config(given, made, lambda: hidden_size(base))
        decisions = [*given.decisions(decisions), *complete.decisions]
    check_cpu_memory(made, machines)
    warnings = [*complete.warnings, *batch_warnings(made.global_batch_size, blocks)]
    memory = memory_of(made, skeleton)
    if given:
        notes = (*memory.unverified, "a DeepSpeed config's own sizes of buckets")
        memory = replace(memory, unverified=notes)
    warnings += warnings_4bit(made) + memory_warnings(made, memory, machines)
    for warning in warnings:
        log.warning("%s", warning)
    reasons = Reasons(
        decisions=tuple(decisions),
        warnings=tuple(warnings),
        train_blocks=blocks,
        memory=memory,
        gpu_name=machines.gpu_name,
    )
    write_json(plan / DEEPSPEED, complete.values)
    made.write(plan / PLAN, plan / DEEPSPEED)
    reasons.write(plan / REASONS)
    write_text(plan / "plan.md", plan_page(made, reasons))
    by = [given.in_words(complete.num_auto)] if given else []
    return "; ".join([plan_line(made), *by, *warnings])


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


def plan_of(
    settings: ConfigureSettings,
    trained: TrainedWeightsSettings,
    machines: Hardware,
    base: Path,
    facts: ModelFacts,
    sequence_length: int,
    blocks: int,
) -> tuple[Plan, list[Decision[PlanValue]], "TrainingSkeleton"]:
    """Return the plan, each value of it with the reason, and the model to be trained.

    Args:
        settings: The `configure` section.
        trained: Which weights are trained.
        machines: The machines.
        base: Folder of the base model, whose weights are not read.
        facts: Facts of the base model.
        sequence_length: Tokens per training sequence.
        blocks: Number of training sequences.

    Raises:
        RetuneError: If settings, model and machines do not go together.
    """
    is_8bit = settings.optim == "adamw_8bit"
    if is_8bit:
        check_bitsandbytes(f"configure.optim: {settings.optim}")
    # It needs torch, which takes seconds to import.
    from retune.models.training_skeleton import build_training_skeleton

    skeleton = build_training_skeleton(base, facts, trained.lora)
    plan, decisions = make_plan(
        *(settings, machines, skeleton.facts, sequence_length, blocks),
        skeleton.num_adapter_parameters,
        skeleton.num_4bit_parameters,
        skeleton.num_8bit_moments if is_8bit else 0,
    )
    return plan, decisions, skeleton


def memory_of(plan: Plan, skeleton: "TrainingSkeleton") -> MemoryPrediction:
    """Return how much memory the training of a model will take.

    Args:
        plan: The plan.
        skeleton: The model, without weights.
    """
    from retune.engines.activation_trace import trace_activations

    activations = trace_activations(skeleton, plan, [plan.micro_batch_size])
    return predict_memory(plan, activations, skeleton.sizes)


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
