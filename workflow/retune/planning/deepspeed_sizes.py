"""What a DeepSpeed config says of memory beside the plan: sizes of its buffers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from retune.linting.known_keys import at
from retune.linting.value import Value
from retune.planning.deepspeed_config import REDUCE_BUCKET_SIZE
from retune.planning.given_config import ZERO, look_up, precision_named
from retune.settings import Precision

COMMUNICATION = "communication_data_type"
# Weights that the graph of a pass keeps, and those of whole modules at once.
UNCOUNTED = (
    f"{ZERO}.memory_efficient_linear",
    f"{ZERO}.stage3_module_granularity_threshold",
)


@dataclass(frozen=True)
class DeepSpeedSizes:
    """Values of a complete DeepSpeed config; sizes are numbers of elements.

    Attributes:
        reduce_bucket_size: Of a bucket in which gradients are reduced.
        overlap_comm: Whether gradients are reduced during the backward pass.
        contiguous_gradients: Whether gradients are copied to the bucket.
        reduce_scatter: Whether each rank gets its own part of reduced gradients alone.
        round_robin_gradients: Whether weights are dealt out to the ranks in turn.
        sub_group_size: Of a shard, what ZeRO-3 steps on at a time.
        stage3_prefetch_bucket_size: What ZeRO-3 gathers ahead.
        stage3_max_live_parameters: Gathered ones above which it gathers nothing ahead.
        stage3_max_reuse_distance: Between two uses of a weight, what it stays gathered
            for.
        stage3_param_persistence_threshold: The largest weight that always stays
            gathered.
        stage3_model_persistence_threshold: The most that all of these are together.
        optimizer_buffer_count: Buffers for an optimizer on a local disk.
        param_buffer_count: Buffers for weights on a local disk.
        param_buffer_size: Of each of these.
        param_max_in_cpu: Of a shard on a local disk, what stays in main memory.
        communication_dtype: Type that gradients are sent in; None: their own.
        uncounted: Keys that take memory at stage 3 which nobody counts.
    """

    reduce_bucket_size: float
    overlap_comm: bool
    contiguous_gradients: bool
    reduce_scatter: bool
    round_robin_gradients: bool
    sub_group_size: float
    stage3_prefetch_bucket_size: float
    stage3_max_live_parameters: float
    stage3_max_reuse_distance: float
    stage3_param_persistence_threshold: float
    stage3_model_persistence_threshold: float
    optimizer_buffer_count: int
    param_buffer_count: int
    param_buffer_size: float
    param_max_in_cpu: float
    communication_dtype: Precision | None
    uncounted: tuple[str, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Return what a config says, with DeepSpeed's defaults for the rest."""
        values = {
            name: value_of(config, f"{ZERO}.{key}") for name, key in OF_ZERO.items()
        }
        sent = precision_named(value_of(config, COMMUNICATION))
        uncounted = tuple(key for key in UNCOUNTED if is_changed(config, key))
        return cls(**values, communication_dtype=sent, uncounted=uncounted)

    def in_usual_buckets(self) -> Self:
        """Return the same with buckets no larger than `configure` writes them."""
        size = min(self.reduce_bucket_size, REDUCE_BUCKET_SIZE)
        return replace(self, reduce_bucket_size=size)

    @property
    def prefetches(self) -> bool:
        """Whether ZeRO-3 gathers weights ahead."""
        return self.stage3_prefetch_bucket_size > 0


OF_OFFLOADING = {
    "optimizer_buffer_count": "offload_optimizer.buffer_count",
    "param_buffer_count": "offload_param.buffer_count",
    "param_buffer_size": "offload_param.buffer_size",
    "param_max_in_cpu": "offload_param.max_in_cpu",
}
# The keys of `zero_optimization` that are read, by the attribute; most have its name.
OF_ZERO = {
    name: OF_OFFLOADING.get(name, name)
    for name in DeepSpeedSizes.__dataclass_fields__
    if name not in ("communication_dtype", "uncounted")
}


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key of a complete config, or DeepSpeed's default."""
    known, found = at(key), look_up(config, key)
    assert isinstance(known, Value), key
    return known.default if found is None else known.converted(found)


def is_changed(config: Mapping[str, Any], key: str) -> bool:
    """Return whether a config says another value of a key than DeepSpeed's default."""
    return bool(value_of(config, key) != value_of({}, key))
