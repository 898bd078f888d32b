"""The one model of memory: bytes of weights, gradients, Adam's states, checkpoints."""

from dataclasses import dataclass, replace

from retune.artifacts.plan import Plan
from retune.settings import Precision


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
    return (
        plan.precision == "bf16"
        and plan.zero_stage > 1
        and plan.gradient_accumulation_steps > 1
        and plan.offload_optimizer == "none"
    )


def model_states_bytes(plan: Plan) -> float:
    """Return the bytes of weights, gradients and Adam's states on each rank's device.

    The weights of a model with adapters are frozen and have neither gradients nor
    states; only the adapters do.

    ZeRO stage 1 shards the optimizer states over the ranks that hold the same pipeline
    stage, stage 2 the gradients as well, and stage 3 the weights, too. What a step
    needs for a moment is not counted: DeepSpeed 0.19 flattens the gradients of one
    group of parameters at a time, in fp32, before Adam reads them.

    Gradients that accumulate in fp32 are sharded at both stages where they do: from one
    micro-batch to the next DeepSpeed 0.19 holds a rank's shard alone, at stage 2 in
    `all_grad_tensors`, at stage 3 in `grad_partitions_flat_buffer`, both of
    `data_types.grad_accum_dtype`.
    """
    each, ranks = bytes_per_trained_parameter(plan), plan.data_parallel_size
    gradient = FP32_BYTES if accumulates_in_fp32(plan) else each.gradient
    total = plan.num_trained * gradient / (ranks if plan.zero_stage >= 2 else 1)
    if not is_offloaded(plan.offload_param, plan):
        total += weights_bytes(plan) / (ranks if plan.zero_stage >= 3 else 1)
    if not is_offloaded(plan.offload_optimizer, plan):
        states = plan.num_trained * each.states - saved_by_8_bits(plan)
        total += states / (ranks if plan.zero_stage >= 1 else 1)
    return total / plan.pipeline_stages


def saved_by_8_bits(plan: Plan) -> float:
    """Return the bytes that Adam's moments take less than in fp32, over all ranks."""
    return plan.num_8bit_moments * SAVED_BY_8_BITS


def is_offloaded(device: str, plan: Plan) -> bool:
    """Return whether what is offloaded to a device leaves the memory of a rank.

    A rank on CPUs computes in the main memory that it offloads to.
    """
    return device != "none" and plan.accelerator != "cpu"


def offloaded_to_cpu_bytes(plan: Plan) -> int:
    """Return the bytes that all nodes together need in main memory for offloading.

    With Adam's states DeepSpeed keeps fp32 gradients there.
    """
    total = 0
    if plan.offload_optimizer == "cpu":
        states = bytes_per_parameter(plan.precision).states
        total += plan.num_trained * (states + FP32_BYTES)
    if plan.offload_param == "cpu":
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
