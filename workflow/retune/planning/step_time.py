"""How long an optimizer step takes on GPUs: good enough to order strategies by.

Each part is what it computes or moves over how fast that goes (see `speeds`). A pass
takes as long as the GPU computes, or as long as the host needs to start its operations,
whichever is longer: the GPU computes one while the host starts the next. What no GPU
has confirmed says so: the shares of time that are hidden behind computing.
"""

from dataclasses import dataclass

from retune.artifacts.plan import Plan
from retune.planning.memory import BF16_BYTES, FP32_BYTES, weights_bytes
from retune.planning.speeds import Speeds
from retune.planning.trained_sizes import TrainedSizes
from retune.planning.work import Work

# What the host needs: Python, PyTorch's dispatch, autograd, DeepSpeed's hooks, and the
# launch of each kernel. Set by 48 trainings of small models on one H200, which these
# bind (benchmarks/gpu.md): for each operation of a trace, for one that selective
# checkpointing looks at, for each trained weight in a step, and for each weight in a
# pass, by ZeRO stage.
OPERATION_S, SELECTIVE_OPERATION_S = 20e-6, 50e-6
STEPPED_WEIGHT_S = 0.25e-3
PASSED_WEIGHT_S = {0: 0.0, 1: 0.0, 2: 0.1e-3, 3: 0.5e-3}
# Share of the single operations, and of the bytes that they move, which is left where
# compiled layers do several of them at once. Not measured. Liger's kernels are counted
# as they are.
COMPILED_SHARE = 0.6
# Share of sending and copying that is hidden at most. Not measured.
HIDDEN_SHARE = 0.5
# Bytes that a step of AdamW reads and writes per trained parameter: gradients to fp32,
# their norm, the scaling, two moments and the copy of the weight, and the new weight.
OPTIMIZER_BYTES = 60
# The same in main memory, with all that DeepSpeed copies there: what the trainings of
# benchmarks/published.md need for it, eight times what AdamW itself reads and writes.
CPU_OPTIMIZER_BYTES = 240


@dataclass(frozen=True)
class StepTime:
    """Seconds of an optimizer step; they add up.

    Attributes:
        computing: Forward and backward passes.
        communicating: Sending weights and gradients, as far as computing does not hide
            it.
        offloading: Copies to main memory and disk, and the optimizer in main memory,
            likewise.
        optimizer: The optimizer on the GPU.
        waiting: Stages of a pipeline that have nothing to do.
    """

    computing: float
    communicating: float
    offloading: float
    optimizer: float
    waiting: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return (
            self.computing
            + self.communicating
            + self.offloading
            + self.optimizer
            + self.waiting
        )


def predict_step(
    plan: Plan, work: Work, speeds: Speeds, sizes: TrainedSizes
) -> StepTime:
    """Return the time of an optimizer step.

    Args:
        plan: The plan, on GPUs.
        work: What a micro-batch of its size computes and moves in the whole model.
        speeds: The machines.
        sizes: Sizes of the model's weights.
    """
    passes = plan.gradient_accumulation_steps
    one = pass_seconds(plan, work, speeds, sizes)
    computing = passes * one / plan.pipeline_stages
    # Each stage waits for the first micro-batch to come, and after the last.
    waiting = computing * (plan.pipeline_stages - 1) / passes
    sending = communication_seconds(plan, speeds)
    streaming = parameter_offload_seconds(plan, speeds)
    return StepTime(
        computing=computing,
        communicating=exposed(sending, computing),
        offloading=exposed(streaming, computing)
        + optimizer_offload_seconds(plan, speeds),
        optimizer=optimizer_seconds(plan, speeds, sizes),
        waiting=waiting,
    )


def exposed(seconds: float, computing: float) -> float:
    """Return how much of the time of sending or copying computing does not hide.

    Args:
        seconds: Time that it takes by itself.
        computing: Time of the passes beside which it happens.
    """
    return max((1 - HIDDEN_SHARE) * seconds, seconds - computing)


def pass_seconds(plan: Plan, work: Work, speeds: Speeds, sizes: TrainedSizes) -> float:
    """Return the time of the forward and backward pass of a micro-batch, one rank's.

    It is that of the GPU or that of the host, whichever is longer. They do not add up,
    because nothing makes the host wait within the passes of a step on one GPU, so it is
    ahead unless it is the slower of the two; of several it waits once in each pass. The
    arguments are those of `predict_step`.
    """
    fused = COMPILED_SHARE if plan.torch_compile else 1.0
    on_gpu = work.products / speeds.products + fused * work.moved / speeds.memory
    selects = plan.activation_checkpointing == "selective"
    operation = SELECTIVE_OPERATION_S if selects else OPERATION_S
    # ZeRO-2 reduces trained weights in each pass, ZeRO-3 gathers all.
    weights = sizes.num_weights if plan.zero_stage == 3 else sizes.num_trained
    of_weights = PASSED_WEIGHT_S[plan.zero_stage] * weights
    return max(on_gpu, fused * operation * work.operations + of_weights)


def ring_seconds(plan: Plan, size: float, speeds: Speeds) -> float:
    """Return how long all ranks take to gather a tensor of which each has a part.

    To reduce a tensor so that each rank gets a part of the sum takes as long.

    Args:
        plan: The plan.
        size: Bytes of the whole tensor.
        speeds: The machines.
    """
    ranks = plan.data_parallel_size
    if ranks == 1:
        return 0.0
    # In a ring all bytes pass every link, and the slowest counts.
    slowest = speeds.link if plan.nodes == 1 else min(speeds.link, speeds.network)
    return size * (ranks - 1) / ranks / slowest


def communication_seconds(plan: Plan, speeds: Speeds) -> float:
    """Return the time of sending weights and gradients in a step."""
    weights = weights_bytes(plan) / plan.pipeline_stages
    each = FP32_BYTES if plan.precision == "fp32" else BF16_BYTES
    gradients = plan.num_trained * each / plan.pipeline_stages
    trained = plan.num_trained * each / plan.pipeline_stages
    passes = plan.gradient_accumulation_steps
    if plan.zero_stage == 3:
        # Weights are gathered for the forward and for the backward pass.
        once = 2 * weights + gradients
        return passes * ring_seconds(plan, once, speeds)
    if plan.zero_stage == 2:
        return ring_seconds(plan, passes * gradients + trained, speeds)
    # Stage 0 reduces the gradients for all; stage 1 for some, and gathers weights.
    return ring_seconds(plan, gradients + trained, speeds)


def parameter_offload_seconds(plan: Plan, speeds: Speeds) -> float:
    """Return the time of bringing offloaded weights to the GPUs, twice in each pass."""
    if plan.offload_param == "none":
        return 0.0
    passes = plan.gradient_accumulation_steps
    share = 2 * passes * weights_bytes(plan) / plan.world_size
    seconds = share / speeds.host
    if plan.offload_param == "nvme":
        seconds = max(seconds, share * plan.ranks_per_node / speeds.nvme)
    return seconds


def optimizer_offload_seconds(plan: Plan, speeds: Speeds) -> float:
    """Return the time of an optimizer in main memory, and of the copies to it."""
    if plan.offload_optimizer == "none":
        return 0.0
    each = FP32_BYTES if plan.precision == "fp32" else BF16_BYTES
    shard = plan.num_trained / plan.world_size
    of_node = shard * plan.ranks_per_node
    passes = plan.gradient_accumulation_steps
    # Gradients come after each micro-batch, new weights go back once.
    copied = (passes + 1) * shard * each / speeds.host
    computed = of_node * CPU_OPTIMIZER_BYTES / speeds.main_memory
    swapped = 0.0
    if plan.offload_optimizer == "nvme":
        # Two moments and the fp32 weights, read and written.
        swapped = 2 * 3 * FP32_BYTES * of_node / speeds.nvme
    return copied + computed + swapped


def optimizer_seconds(plan: Plan, speeds: Speeds, sizes: TrainedSizes) -> float:
    """Return the time of the optimizer on the GPU, and of the host beside it.

    They add up: that the gradients are finite, and their norm, is waited for.
    """
    on_host = STEPPED_WEIGHT_S * sizes.num_trained / plan.pipeline_stages
    if plan.offload_optimizer != "none":
        return on_host
    ranks = plan.data_parallel_size if plan.zero_stage else 1
    own = plan.num_trained / plan.pipeline_stages / ranks
    return own * OPTIMIZER_BYTES / speeds.memory + on_host
