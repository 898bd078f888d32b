"""The strategies that `configure` may choose among: what `auto` leaves open."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from retune.planning.hardware import Hardware
from retune.settings import (
    ConfigureSettings,
    TrainedWeightsSettings,
    problems_across,
    split_problems,
)

# Tokens per rank and forward pass above which no GPU becomes busier.
MOST_TOKENS_PER_PASS = 131_072
# Setting -> the values that `auto` may become, the simplest first. Disks are for who
# asks for them: `configure` does not know whether there is a fast one.
OPEN: dict[str, tuple[Any, ...]] = {
    "zero_stage": (2, 3),
    "offload_optimizer": ("none", "cpu"),
    "offload_param": ("none", "cpu"),
    "activation_checkpointing": (False, "selective", True),
}


def candidates(
    settings: ConfigureSettings,
    trained: TrainedWeightsSettings,
    hardware: Hardware,
    sequence_length: int,
) -> Iterator[ConfigureSettings]:
    """Yield the settings with each possible value of those that are `auto`.

    Args:
        settings: The `configure` section.
        trained: Which weights are trained.
        hardware: The machines.
        sequence_length: Tokens per training sequence.
    """
    left_open = open_values(settings)
    sizes = micro_batch_sizes(settings, hardware, sequence_length)
    for values in product(*left_open.values()):
        one = settings.model_copy(update=dict(zip(left_open, values, strict=True)))
        if "offload_param" in left_open and offloads_weights_alone(one):
            continue
        if "zero_stage" in left_open and shards_nothing(one, hardware):
            continue
        for size in sizes:
            sized = one.model_copy(update={"micro_batch_size": size})
            problems = problems_across({"configure": sized, "finetune": trained})
            if not problems and not split_problems(sized, hardware.world_size):
                yield sized


def open_values(settings: ConfigureSettings) -> dict[str, tuple[Any, ...]]:
    """Return the settings that are `auto`, but for sizes, and what each may become."""
    left_open = {
        k: values for k, values in OPEN.items() if getattr(settings, k) == "auto"
    }
    if settings.pipeline_stages > 1 and "zero_stage" in left_open:
        left_open["zero_stage"] = (1,)
    return left_open


def offloads_weights_alone(settings: ConfigureSettings) -> bool:
    """Return whether weights are offloaded, and not the optimizer to the same device.

    What the optimizer holds takes six times as much, and is needed once in a step.
    """
    device = settings.offload_param
    return device != "none" and device != settings.offload_optimizer


def shards_nothing(settings: ConfigureSettings, hardware: Hardware) -> bool:
    """Return whether ZeRO-3 has one rank hold the weights, as ZeRO-2 does."""
    is_single = hardware.world_size == settings.pipeline_stages
    is_here = settings.offload_param == "none" and settings.offload_optimizer != "nvme"
    return settings.zero_stage == 3 and is_single and is_here


def micro_batch_sizes(
    settings: ConfigureSettings, hardware: Hardware, sequence_length: int
) -> list[int]:
    """Return the sizes that divide the batch of a rank, the smallest first.

    Args:
        settings: The `configure` section.
        hardware: The machines.
        sequence_length: Tokens per training sequence.
    """
    if settings.micro_batch_size != "auto":
        return [settings.micro_batch_size]
    pipelines = max(1, hardware.world_size // settings.pipeline_stages)
    per_rank = max(1, settings.global_batch_size // pipelines)
    most = max(1, MOST_TOKENS_PER_PASS // sequence_length)
    sizes = [size for size in range(1, min(per_rank, most) + 1) if per_rank % size == 0]
    # Of many only such that each is at least half as large again as the one before.
    chosen = sizes[:1]
    for size in sizes:
        if size >= 1.5 * chosen[-1]:
            chosen.append(size)
    return sorted({*chosen, sizes[-1]})
