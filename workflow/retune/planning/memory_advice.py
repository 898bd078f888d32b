"""Which setting to change when a rank has run out of memory, by the prediction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from retune.artifacts.memory_shortage import MemoryShortage
from retune.artifacts.plan import Plan
from retune.planning.candidates import OPEN
from retune.planning.choice import FREE_SHARE
from retune.planning.single_changes import (
    USUAL_BUCKETS,
    more_gpus,
    setting_changes,
    shorter_sequences,
)
from retune.settings import split_problems, strategy_problems
from retune.units import GB

# Returns the most bytes of tensors that a rank holds on its device by a plan.
PeakOf = Callable[[Plan], float]
Change = tuple[str, Plan]
# Settings that `configure` searches among where they are `auto`.
SEARCHED = (*OPEN, "micro_batch_size")


@dataclass(frozen=True)
class Beside:
    """What could be changed beside the plan.

    Attributes:
        in_4bit: Number of parameters that could be held in 4 bits; 0: none, or nobody
            knows, because bitsandbytes is not installed.
        in_usual_buckets: The most bytes of tensors that a rank would hold with buckets
            no larger than `configure` writes them; None: they are not.
    """

    in_4bit: int = 0
    in_usual_buckets: float | None = None


NOTHING_BESIDE = Beside()


def advise(
    plan: Plan,
    shortage: MemoryShortage,
    peak_of: PeakOf,
    besides: Beside = NOTHING_BESIDE,
) -> str:
    """Return the least change that would fit, in words.

    The prediction is corrected by what was needed until then. On a GPU other plans are
    taken to need more than is predicted by the same ratio. On a CPU what was needed
    beside tensors stays as it is: those are libraries. If less was needed than is
    predicted, the prediction stays, because more might have followed.

    Args:
        plan: The plan of the training.
        shortage: The memory of the rank.
        peak_of: Function that predicts the memory of a plan.
        besides: What could be changed beside the plan.
    """
    on_gpu = plan.accelerator == "cuda"
    predicted, needed = peak_of(plan) / GB, shortage.needed - shortage.before
    ratio = max(1.0, needed / predicted) if on_gpu else 1.0
    beside = shortage.before + max(0.0, needed - ratio * predicted)
    # What ran out was not the last allocation, and blocks do not fit together well.
    there = shortage.there * (1 - FREE_SHARE if on_gpu else 1.0)

    def use(other: Plan) -> float:
        return beside + ratio * peak_of(other) / GB

    def first_that_fits(changes: Iterator[Change]) -> str:
        for words, other in changes:
            # If memory was only in pieces too small, less than now is needed, too.
            if (size := use(other)) <= there and size < use(plan):
                return f"{words} (about {size:.1f} GB)"
        return ""

    less = besides.in_usual_buckets
    if less is not None:
        size = beside + ratio * less / GB
        if size <= there and size < use(plan):
            pins = pins_beside(plan, USUAL_BUCKETS)
            return f"write {USUAL_BUCKETS} (about {size:.1f} GB){pins}"
    if fitting := first_that_fits(changes_of_settings(plan)):
        return f"write {fitting}{pins_beside(plan, fitting)}"
    if in_4bit := first_that_fits(weights_in_4bit(plan, besides.in_4bit)):
        return f"write {in_4bit}"
    more = "more GPUs" if on_gpu else "more memory"
    if shorter := first_that_fits(shorter_sequences(plan)):
        return f"write {shorter}, or give the run {more}"
    if on_gpu and (gpus := first_that_fits(more_gpus(plan))):
        return f"give the run {gpus}"
    if any(use(other) < use(plan) for _, other in shorter_sequences(plan)):
        length = plan.sequence_length
        return (
            f"write a tokenize.sequence_length below {length}, or give the run {more}"
        )
    return f"no setting alone would do: give the run {more}"


def pins_beside(plan: Plan, words: str) -> str:
    """Return the rest of the strategy, to be pinned beside a change.

    What is `auto` would be chosen anew, by the prediction that was too low.

    Args:
        plan: The plan of the training.
        words: The change.
    """
    if plan.accelerator == "cpu":
        return ""
    rest = [
        f"{key}: {str(value).lower() if isinstance(value, bool) else value}"
        for key in SEARCHED
        if f"{key}:" not in words and (value := getattr(plan, key)) is not None
    ]
    return f"; what of these is auto has to be pinned with it: {', '.join(rest)}"


def changes_of_settings(plan: Plan) -> Iterator[Change]:
    """Yield changes of settings that take less memory, with the changed plans.

    Those come first with which a run resumes: a smaller micro-batch, and more that is
    computed again; another ZeRO stage begins anew, and an offloaded optimizer is slow.
    """
    smaller = list(smaller_micro_batches(plan))
    yield from smaller
    yield from full_checkpointing(plan)
    if smaller:
        words, least = smaller[-1]
        for more, other in full_checkpointing(least):
            yield f"{words}, {more}", other
    yield from setting_changes(plan)
    if plan.optim == "adamw_8bit":
        # DeepSpeed's AdamW for main memory has moments of 32 bits.
        usual = changed(plan, optim="adamw", num_8bit_moments=0)
        for words, other in setting_changes(usual):
            yield f"{words}, optim: adamw", other


def smaller_micro_batches(plan: Plan) -> Iterator[Change]:
    """Yield the smaller micro-batches that a step can have, the largest first."""
    share = plan.global_batch_size // plan.data_parallel_size
    for size in range(plan.micro_batch_size - 1, 0, -1):
        other = changed(plan, micro_batch_size=size)
        if not (strategy_problems(other) or split_problems(other, plan.world_size)):
            accumulated = changed(other, gradient_accumulation_steps=share // size)
            yield f"configure.micro_batch_size: {size}", accumulated


def full_checkpointing(plan: Plan) -> Iterator[Change]:
    """Yield that all activations are computed again, unless they are."""
    full = {"activation_checkpointing": True, "activation_checkpointing_interval": 1}
    other = changed(plan, **full)
    if other == plan or strategy_problems(other):
        return
    words = "configure.activation_checkpointing: true"
    if plan.activation_checkpointing_interval > 1:
        words += ", activation_checkpointing_interval: 1"
    yield words, other


def weights_in_4bit(plan: Plan, number: int) -> Iterator[Change]:
    """Yield that frozen weights are held in 4 bits, unless they are or are sharded.

    Args:
        plan: The plan.
        number: How many parameters could be.
    """
    can = plan.num_adapter_parameters > 0 and plan.zero_stage < 3
    if number and can and not plan.num_4bit_parameters:
        other = changed(plan, num_4bit_parameters=number)
        yield "finetune.lora.load_in_4bit: true", other


def changed(plan: Plan, **changes: Any) -> Plan:
    """Return a plan with other values."""
    return plan.model_copy(update=changes)
