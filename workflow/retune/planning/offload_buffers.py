"""Buffers through which DeepSpeed moves what it offloads, beside what is offloaded.

Their sizes are DeepSpeed's defaults, which our DeepSpeed config leaves as they are.
They were read in the source of DeepSpeed 0.19.8, whose lines are named, and never
measured.
"""

from retune.artifacts.plan import Plan
from retune.planning.deepspeed_config import REDUCE_BUCKET_SIZE
from retune.planning.memory import BF16_BYTES, FP32_BYTES, bytes_per_parameter

# Of `offload_param`: elements of a buffer, the number of buffers, and elements of
# weights that stay in main memory for good (runtime/zero/offload_config.py:33-39).
PARAM_BUFFER_SIZE, PARAM_BUFFER_COUNT, MAX_IN_CPU = 10**8, 5, 10**9
# Of `offload_optimizer`: a buffer for the weights, both moments and the gradients of a
# sub-group (runtime/zero/offload_config.py:67).
OPTIMIZER_BUFFER_COUNT = 4


def swap_buffer_bytes(plan: Plan, sub_group: float) -> float:
    """Return the bytes of main memory that a rank keeps for what is on a local disk.

    All of it is pinned, and there for the whole training:

    - For the optimizer a buffer for each state and the gradients of the largest
      sub-group, in the dtype of the master weights (swap_tensor/optimizer_utils.py:187,
      swap_tensor/utils.py:191).
    - For weights `buffer_count` buffers of `buffer_size`
      (swap_tensor/partitioned_param_swapper.py:124-131). Of the trained ones as many as
      `max_in_cpu` says do not leave main memory (stage3.py:886-907); only if there are
      more are others on the disk alone, and one more buffer writes those of a
      sub-group (stage3.py:1006-1018).

    Args:
        plan: The plan.
        sub_group: Elements of a rank's part of the largest sub-group.
    """
    total = 0.0
    if plan.offload_optimizer == "nvme":
        master = BF16_BYTES if plan.bf16_optimizer_states else FP32_BYTES
        total += OPTIMIZER_BUFFER_COUNT * sub_group * master
    if plan.offload_param == "nvme":
        own = plan.num_trained / plan.data_parallel_size
        elements = PARAM_BUFFER_COUNT * PARAM_BUFFER_SIZE + min(own, MAX_IN_CPU)
        if own > MAX_IN_CPU:
            elements += sub_group
        total += elements * bytes_per_parameter(plan.precision).weight
    return total


def shards_to_gather(plan: Plan, largest: int) -> float:
    """Return the elements of a rank's shards that are on a GPU to be gathered.

    Where parameters are offloaded, its parts of the weights that ZeRO-3 gathers at once
    are copied there before (partition_parameters.py:1359 and :1396): those of the
    largest weight, or of as many as are gathered ahead. A single rank copies each to
    where it is computed with.

    Args:
        plan: The plan.
        largest: Elements of the largest weight.
    """
    ranks = plan.data_parallel_size
    if plan.offload_param == "none" or ranks == 1:
        return 0.0
    number = plan.num_parameters + plan.num_adapter_parameters
    return min(max(largest, REDUCE_BUCKET_SIZE), number) / ranks
