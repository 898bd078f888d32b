"""Buffers through which DeepSpeed moves what it offloads, beside what is offloaded.

Their sizes are DeepSpeed's defaults, unless a user's DeepSpeed config has others. What
they are for was read in the source of DeepSpeed 0.19.8, whose lines are named, and
never measured.
"""

import math

from retune.artifacts.plan import Plan
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.memory import BF16_BYTES, FP32_BYTES, bytes_per_parameter


def swap_buffer_bytes(plan: Plan, sub_group: float, deepspeed: DeepSpeedSizes) -> float:
    """Return the bytes of main memory that a rank keeps for what is on a local disk.

    All of it is pinned, and there for the whole training:

    - For the optimizer `buffer_count` buffers of the largest sub-group, by default one
      for its weights, each of both moments and its gradients, in the dtype of the
      master weights (swap_tensor/optimizer_utils.py:187, swap_tensor/utils.py:191).
    - For weights `buffer_count` buffers of `buffer_size`
      (swap_tensor/partitioned_param_swapper.py:124-131). Of the trained ones as many as
      `max_in_cpu` says do not leave main memory (stage3.py:886-907); only if there are
      more are others on the disk alone, and one more buffer writes those of a
      sub-group (stage3.py:1006-1018).

    Args:
        plan: The plan.
        sub_group: Elements of a rank's part of the largest sub-group.
        deepspeed: Sizes in the DeepSpeed config.
    """
    total = 0.0
    if plan.offload_optimizer == "nvme":
        master = BF16_BYTES if plan.bf16_optimizer_states else FP32_BYTES
        total += deepspeed.optimizer_buffer_count * sub_group * master
    if plan.offload_param == "nvme":
        own = plan.num_trained / plan.data_parallel_size
        elements = deepspeed.param_buffer_count * deepspeed.param_buffer_size
        elements += min(own, deepspeed.param_max_in_cpu)
        if own > deepspeed.param_max_in_cpu:
            elements += sub_group
        total += elements * bytes_per_parameter(plan.precision).weight
    return total


def swapping_problem(plan: Plan, largest: int, deepspeed: DeepSpeedSizes) -> str:
    """Return why a weight cannot be moved to a local disk; nothing if each can.

    A rank's shard passes through one of the buffers, and DeepSpeed stops as it loads a
    larger one (`get_buffer`, swap_tensor/partitioned_param_swapper.py:357).

    Args:
        plan: The plan.
        largest: Elements of the largest weight.
        deepspeed: Sizes in the DeepSpeed config.
    """
    shard = math.ceil(largest / plan.data_parallel_size)
    if plan.offload_param != "nvme" or shard <= deepspeed.param_buffer_size:
        return ""
    key = "zero_optimization.offload_param.buffer_size"
    ranks = plan.data_parallel_size
    where = "on one rank" if ranks == 1 else f"on each of {ranks} ranks"
    return (
        f"configure.offload_param: nvme, but DeepSpeed's buffers hold"
        f" {deepspeed.param_buffer_size:,.0f} elements ({key}), and the largest weight"
        f" has {shard:,} {where}; write"
        f" configure.overrides.{key}: {shard}"
    )


def shards_to_gather(plan: Plan, largest: int, ahead: float) -> float:
    """Return the elements of a rank's shards that are on a GPU to be gathered.

    Where parameters are offloaded, its parts of the weights that ZeRO-3 gathers at once
    are copied there before (partition_parameters.py:1359 and :1396): those of the
    largest weight, or of as many as are gathered ahead. A single rank copies each to
    where it is computed with.

    Args:
        plan: The plan.
        largest: Elements of the largest weight.
        ahead: Elements that are gathered ahead.
    """
    ranks = plan.data_parallel_size
    if plan.offload_param == "none" or ranks == 1:
        return 0.0
    number = plan.num_parameters + plan.num_adapter_parameters
    return min(max(largest, ahead), number) / ranks
