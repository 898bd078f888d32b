"""What would make a strategy fit: one change of a setting or of hardware."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from retune.artifacts.memory_prediction import MemoryPrediction
from retune.artifacts.plan import Plan
from retune.linting.buckets import KEY, short
from retune.planning.deepspeed_config import REDUCE_BUCKET_SIZE
from retune.settings import split_problems, strategy_problems
from retune.units import GB

# How many times as many GPUs are tried, and by how much sequences are cut.
MORE_GPUS = (2, 4, 8, 16, 32, 64)
SHORTER = (2, 4, 8, 16)

# What has buckets of the size that `configure` writes, over a user's file.
USUAL_BUCKETS = f"configure.overrides.{KEY}: {short(REDUCE_BUCKET_SIZE)}"

# Returns the memory that a plan takes.
MemoryOf = Callable[[Plan], MemoryPrediction]


@dataclass(frozen=True)
class Room:
    """The memory that a strategy may take.

    Attributes:
        gpu: Bytes of a GPU.
        free_share: Share of a GPU's memory that has to stay free beside them.
        node: Bytes of a node's main memory; None: not known.
    """

    gpu: float
    free_share: float
    node: float | None

    def holds(self, memory: MemoryPrediction) -> bool:
        """Return whether a prediction fits."""
        return memory.peak_bytes <= self.gpu and not self.lacks_main_memory(memory)

    def lacks_main_memory(self, memory: MemoryPrediction) -> bool:
        """Return whether a node has too little main memory for a prediction."""
        return self.node is not None and memory.main_memory_bytes > self.node


def what_would_fit(
    plan: Plan,
    memory_of: MemoryOf,
    room: Room,
    in_usual_buckets: MemoryOf,
    is_allowed: Callable[[Plan], bool],
) -> str:
    """Return the changes of which each alone makes a plan fit, in words.

    Args:
        plan: The plan.
        memory_of: Function that predicts a plan's memory.
        room: The memory that it may take.
        in_usual_buckets: The same as `memory_of` with buckets no larger than usual.
        is_allowed: Function that returns whether the user's DeepSpeed config goes with
            a plan.
    """
    memory = memory_of(plan)
    larger = []
    if memory.peak_bytes > room.gpu:
        enough = math.ceil(memory.peak_bytes / (1 - room.free_share) / GB)
        larger.append(f"hardware.gpu_memory_gb: {enough}")
    if room.lacks_main_memory(memory):
        enough = math.ceil(memory.main_memory_bytes / GB)
        larger.append(f"hardware.cpu_memory_gb: {enough}")
    told = [" and ".join(larger)]

    def fitting(changes: Iterator[tuple[str, Plan]]) -> Iterator[str]:
        return (
            words
            for words, other in changes
            if is_allowed(other) and room.holds(memory_of(other))
        )

    less = in_usual_buckets(plan)
    if less.peak_bytes < memory.peak_bytes and room.holds(less):
        told.append(USUAL_BUCKETS)
    told += fitting(setting_changes(plan))
    for changes in (more_gpus(plan), shorter_sequences(plan)):
        told += islice(fitting(changes), 1)
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
        if not strategy_problems(other) and not is_in_vain(plan, other):
            shown = str(value).lower() if isinstance(value, bool) else value
            yield f"configure.{key}: {shown}", other


def is_in_vain(plan: Plan, other: Plan) -> bool:
    """Return whether a changed plan shards what cannot be sharded.

    A single rank holds all of it, and nothing shards or offloads weights in 4 bits.
    """
    is_sharded = other.zero_stage == 3 and plan.zero_stage < 3
    if is_sharded and plan.data_parallel_size == 1:
        return True
    moves_weights = other.zero_stage == 3 or other.offload_param != "none"
    return plan.num_4bit_parameters > 0 and moves_weights


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
