"""Bytes of weights, gradients, Adam's states and checkpoints.

`retune.planning.memory_prediction` adds up from these what a rank takes at most.
"""

from dataclasses import dataclass, replace

from retune.artifacts.plan import Plan
from retune.settings import Precision
from retune.settings.rules import Strategy


@dataclass(frozen=True)
class BytesPerParameter:
    """What a trained parameter takes, bytes.

    Attributes:
        weight: Bytes of the weight that forward and backward pass compute with.
        gradient: Bytes of its gradient.
        states: Bytes of its optimizer states: Adam's two moments and, in mixed
            precision, an fp32 copy of the weight.
    """

    weight: int
    gradient: int
    states: int


# Rajbhandari et al., ZeRO, 2020, section 3.
FULL_PRECISION = BytesPerParameter(weight=4, gradient=4, states=8)
MIXED_PRECISION = BytesPerParameter(weight=2, gradient=2, states=12)
# `bf16_optimizer_states`: two moments and a copy of the weight, all bf16.
BF16_STATES = BytesPerParameter(weight=2, gradient=2, states=6)
# `optim: adamw_8bit`: two moments of a byte, and for 256 of each an fp32 scale.
MOMENTS_IN_8_BITS = 2 * (1 + 4 / 256)
SAVED_BY_8_BITS = 8 - MOMENTS_IN_8_BITS
FP32_BYTES = 4
BF16_BYTES = 2
# NF4 of bitsandbytes: 4 bits a weight, and an fp32 scale for each block of 64.
NF4_BYTES = 0.5 + FP32_BYTES / 64


def bytes_per_parameter(precision: Precision) -> BytesPerParameter:
    """Return the bytes of a trained parameter before anything is sharded."""
    return FULL_PRECISION if precision == "fp32" else MIXED_PRECISION


def bytes_per_trained_parameter(plan: Plan) -> BytesPerParameter:
    """Return the bytes of a trained parameter before anything is sharded.

    At ZeRO stage 3 DeepSpeed needs no copy of bf16 weights that are on its device.
    """
    if not plan.bf16_optimizer_states:
        return bytes_per_parameter(plan.precision)
    if plan.zero_stage == 3 and not is_offloaded(plan.offload_param, plan):
        return replace(BF16_STATES, states=BF16_STATES.states - BF16_BYTES)
    return BF16_STATES


def accumulates_in_fp32(plan: Plan) -> bool:
    """Return whether DeepSpeed has to be asked to accumulate bf16 gradients in fp32.

    In bf16 small gradients would vanish. At stage 1 DeepSpeed cannot do otherwise with
    this layout of checkpoints, and the gradients of an offloaded optimizer are fp32
    anyway. A user's DeepSpeed config may say otherwise.
    """
    if plan.grad_accum_dtype is not None:
        return plan.grad_accum_dtype == "fp32" and plan.precision != "fp32"
    return plan.gradient_accumulation_steps > 1 and can_accumulate_in_fp32(plan)


def can_accumulate_in_fp32(strategy: Strategy) -> bool:
    """Return whether DeepSpeed accumulates gradients of 16 bits in fp32 if asked to."""
    return (
        strategy.precision == "bf16"
        and strategy.zero_stage in (2, 3)
        and strategy.offload_optimizer == "none"
    )


def model_states_bytes(plan: Plan) -> float:
    """Return the bytes of weights, gradients and Adam's states on each rank's device.

    The weights of a model with adapters are frozen and have neither gradients nor
    states; only the adapters do.
    """
    return (
        device_weights_bytes(plan)
        + device_gradients_bytes(plan)
        + device_states_bytes(plan)
    )


def device_weights_bytes(plan: Plan) -> float:
    """Return the bytes of the weights on each rank's device; stage 3 shards them."""
    if is_offloaded(plan.offload_param, plan):
        return 0.0
    sharded = plan.data_parallel_size if plan.zero_stage >= 3 else 1
    return weights_bytes(plan) / sharded / plan.pipeline_stages


def device_gradients_bytes(plan: Plan) -> float:
    """Return the bytes of the gradients that a rank keeps for a step.

    ZeRO shards them from stage 2 on. Gradients that accumulate in fp32 are sharded at
    both stages where they do: from one micro-batch to the next DeepSpeed 0.19 holds a
    rank's shard alone, at stage 2 in `averaged_gradients`, at stage 3 in
    `grad_partitions_flat_buffer`, both of `data_types.grad_accum_dtype`. Those of an
    offloaded optimizer are in main memory from stage 2 on.
    """
    if is_offloaded(plan.offload_optimizer, plan) and plan.zero_stage > 1:
        return 0.0
    each = bytes_per_trained_parameter(plan)
    gradient = FP32_BYTES if accumulates_in_fp32(plan) else each.gradient
    sharded = plan.data_parallel_size if plan.zero_stage >= 2 else 1
    return plan.num_trained * gradient / sharded / plan.pipeline_stages


def device_states_bytes(plan: Plan) -> float:
    """Return the bytes of the optimizer's states on each rank's device.

    ZeRO shards them over the ranks that hold the same pipeline stage. From stage 1 on
    the optimizer steps on a copy of the weights, in fp32 too: at stages 1 and 2
    `single_partition_of_fp32_groups` (stage_1_and_2.py:560), at stage 3
    `fp32_partitioned_groups_flat` (stage3.py:1172), which compares a device with the
    name of one and so copies weights in fp32 as well.
    """
    if is_offloaded(plan.offload_optimizer, plan):
        return 0.0
    states = plan.num_trained * state_bytes(plan) - saved_by_8_bits(plan)
    sharded = plan.data_parallel_size if plan.zero_stage >= 1 else 1
    return states / sharded / plan.pipeline_stages


def state_bytes(plan: Plan) -> int:
    """Return the bytes of the states of a trained parameter, none in 8 bits."""
    copies = plan.precision == "fp32" and plan.zero_stage > 0
    return bytes_per_trained_parameter(plan).states + (FP32_BYTES if copies else 0)


def saved_by_8_bits(plan: Plan) -> float:
    """Return the bytes that Adam's moments take less than in fp32, over all ranks."""
    return plan.num_8bit_moments * SAVED_BY_8_BITS


def is_offloaded(device: str, plan: Plan) -> bool:
    """Return whether what is offloaded to a device leaves the memory of a rank.

    A rank on CPUs computes in the main memory that it offloads to.
    """
    return device != "none" and plan.accelerator != "cpu"


def offloaded_bytes(plan: Plan, device: str) -> int:
    """Return the bytes that all nodes together need on a device for offloading.

    With Adam's states DeepSpeed keeps fp32 gradients there, and copies of weights or
    gradients in the training precision, which stay in main memory where states go to
    NVMe: at stages 1 and 2 `param_buffer_of_bit16_for_cpu_offload_groups`
    (stage_1_and_2.py:571) and `accumulated_grads_in_cpu`, at stage 3
    `grad_partitions_flat_buffer` (stage3.py:791).

    Args:
        plan: The plan.
        device: `cpu` or `nvme`.
    """
    each = bytes_per_parameter(plan.precision)
    total = 0
    if plan.offload_optimizer == device:
        copy = FP32_BYTES if plan.precision == "fp32" else 0
        total += plan.num_trained * (each.states + copy + FP32_BYTES)
    if plan.offload_optimizer != "none" and device == "cpu":
        total += plan.num_trained * each.weight
        if plan.zero_stage < 3 and plan.gradient_accumulation_steps > 1:
            total += plan.num_trained * each.weight
    if plan.offload_param == device:
        total += weights_bytes(plan)
    return total


def checkpoint_bytes(plan: Plan, num_trained: int) -> int:
    """Return about how much disk a checkpoint takes, bytes, over all ranks.

    It holds Adam's two moments, in fp32, bf16 or 8 bits, a copy of the trained weights,
    in fp32 or bf16, and, but for ZeRO-3, the weights in the training precision. At
    stage 0, which is trained in fp32, these are the fp32 copy.

    Args:
        plan: The plan.
        num_trained: Number of trained parameters of the whole model.
    """
    states = BF16_STATES if plan.bf16_optimizer_states else MIXED_PRECISION
    weight = bytes_per_parameter(plan.precision).weight if plan.zero_stage < 3 else 0
    copy = FP32_BYTES if plan.zero_stage == 0 else 0
    each = states.states - copy + weight
    return round(num_trained * each - saved_by_8_bits(plan))


def weights_bytes(plan: Plan) -> int:
    """Return the bytes of all weights, each counted once.

    They are in the training precision, but for those that are held in 4 bits.
    """
    in_4bit = plan.num_4bit_parameters
    others = plan.num_parameters + plan.num_adapter_parameters - in_4bit
    each = bytes_per_parameter(plan.precision).weight
    return others * each + round(in_4bit * NF4_BYTES)


def live_bytes(plan: Plan) -> int:
    """Return the bytes of all weights in the training precision, each counted once.

    The ranks hash them so: of weights that are held in 4 bits what these stand for.
    """
    number = plan.num_parameters + plan.num_adapter_parameters
    return number * bytes_per_parameter(plan.precision).weight


def loading_bytes(plan: Plan) -> int:
    """Return the bytes of main memory that a rank loads the model through.

    The model is loaded as it is trained. At ZeRO stage 3 each rank holds its
    shard alone. What rounding one weight to 4 bits takes for a moment, about 16 bytes
    per element of the largest one, is not counted.
    """
    return 0 if plan.zero_stage == 3 else weights_bytes(plan)
