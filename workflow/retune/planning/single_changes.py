"""What would make a strategy fit: one change of a setting or of hardware."""

import math
from collections.abc import Callable, Iterator

from retune.artifacts.plan import Plan
from retune.settings import split_problems, strategy_problems
from retune.units import GB

# How many times as many GPUs are tried, and by how much sequences are cut.
MORE_GPUS = (2, 4, 8, 16, 32, 64)
SHORTER = (2, 4, 8, 16)

# Returns the most bytes that a rank takes by a plan.
PeakOf = Callable[[Plan], float]


def what_would_fit(plan: Plan, peak_of: PeakOf, free_share: float, limit: float) -> str:
    """Return the changes of which each alone makes a plan fit, in words.

    Args:
        plan: The plan.
        peak_of: Function that predicts a plan's memory.
        free_share: Share of a GPU's memory that has to stay free.
        limit: Bytes that the plan may take.
    """
    enough = math.ceil(peak_of(plan) / (1 - free_share) / GB)
    told = [f"hardware.gpu_memory_gb: {enough}"]
    told += [words for words, other in setting_changes(plan) if peak_of(other) <= limit]
    for changes in (more_gpus(plan), shorter_sequences(plan)):
        fitting = (words for words, other in changes if peak_of(other) <= limit)
        told += [words for words in [next(fitting, "")] if words]
    return ", or ".join(told)


def setting_changes(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield changes of settings that take less memory, with the changed plans."""
    for key, value in (
        ("micro_batch_size", 1),
        ("activation_checkpointing", True),
        ("zero_stage", 3),
        ("offload_optimizer", "cpu"),
        ("offload_param", "cpu"),
    ):
        if getattr(plan, key) == value:
            continue
        changes = {key: value}
        if key == "micro_batch_size":
            changes["gradient_accumulation_steps"] = (
                plan.gradient_accumulation_steps * plan.micro_batch_size
            )
        other = plan.model_copy(update=changes)
        if not strategy_problems(other) and not is_no_change(plan, key):
            shown = str(value).lower() if isinstance(value, bool) else value
            yield f"configure.{key}: {shown}", other


def is_no_change(plan: Plan, key: str) -> bool:
    """Return whether a change would shard what a single rank holds whole."""
    return key == "zero_stage" and plan.data_parallel_size == 1


def more_gpus(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield that there are more GPUs, the fewest first, with the changed plans."""
    for times in MORE_GPUS:
        accumulation = plan.gradient_accumulation_steps
        batch = plan.global_batch_size
        if accumulation % times == 0:
            accumulation //= times
        else:
            batch *= times
        other = plan.model_copy(
            update={
                "nodes": plan.nodes * times,
                "gradient_accumulation_steps": accumulation,
                "global_batch_size": batch,
            }
        )
        if split_problems(other, other.world_size):
            continue
        words = f"{other.world_size} GPUs"
        if batch != plan.global_batch_size:
            words += f" and configure.global_batch_size: {batch}"
        yield words, other


def shorter_sequences(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Yield that sequences are shorter, the longest first, with the changed plans."""
    for times in SHORTER:
        length = plan.sequence_length // times
        if length >= 128:
            other = plan.model_copy(update={"sequence_length": length})
            yield f"tokenize.sequence_length: {length}", other
