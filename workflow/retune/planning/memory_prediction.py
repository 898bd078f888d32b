"""Predicts the memory of a training: what a rank holds at most, in each of its phases.

`configure`, the requests of jobs and the advice where memory runs out ask this. What a
rank holds is added up in `retune.planning.rank_memory`.
"""

from collections.abc import Iterable

from retune.artifacts.memory_prediction import (
    Kind,
    MemoryPrediction,
    PhaseMemory,
    PhaseName,
)
from retune.artifacts.plan import Plan
from retune.planning.activations import NOTHING, Activations, PassMemory
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.gpus import workspace_bytes
from retune.planning.hardware import Hardware
from retune.planning.memory import (
    checkpoint_bytes,
    loading_bytes,
    offloaded_bytes,
)
from retune.planning.rank_memory import Held, Rank
from retune.planning.trained_sizes import TrainedSizes
from retune.units import GB

# Main memory of a process that has imported torch and DeepSpeed and has a CUDA context.
PROCESS_BYTES = 4_000_000_000
# On a GPU beside what PyTorch allocates: the CUDA context and its libraries. Not
# measured.
CONTEXT_BYTES = {"cuda": 700_000_000, "cpu": 0}
# Handles of cuBLAS, each with a workspace: that of the main thread, which computes the
# forward pass, and that of autograd's thread. cuBLASLt, which adds biases, shares them
# or has 1 MiB of its own, by the version of PyTorch; that is not counted.
CUBLAS_HANDLES = 2
# Phases before the first product of matrices.
WITHOUT_PRODUCTS = ("load", "optimizer_init")

NO_PASS = PassMemory(1, (NOTHING,), (NOTHING,), (NOTHING,))
UNKNOWN_ACTIVATIONS = Activations((NO_PASS,), source="unknown")


def predict_memory(
    plan: Plan,
    activations: Activations = UNKNOWN_ACTIVATIONS,
    sizes: TrainedSizes | None = None,
    hardware: Hardware | None = None,
    deepspeed: DeepSpeedSizes | None = None,
) -> MemoryPrediction:
    """Return what a training will take.

    Args:
        plan: The plan.
        activations: What micro-batches take; if it is left out, none of it is counted.
        sizes: Sizes of the weights; None: as if each could be cut anywhere.
        hardware: The machines; None: any GPU, that has as much memory as it takes.
        deepspeed: Sizes in the DeepSpeed config; None: those of `deepspeed_config`.
    """
    deepspeed = deepspeed or DeepSpeedSizes.of(deepspeed_config(plan))
    rank = Rank(plan, sizes or TrainedSizes(()), deepspeed)
    at_size = activations.of(plan.micro_batch_size)
    phases = [
        most("load", [rank.load()]),
        most("optimizer_init", rank.optimizer_init()),
        most("forward", rank.forward(at_size)),
        most("backward", rank.backward(at_size)),
        most("step", rank.step()),
        most("validation", rank.validation(at_size)),
        most("save", [rank.resting()]),
    ]
    gpu_name = hardware.gpu_name if hardware else None
    with_context = tuple(
        PhaseMemory(
            phase.name,
            {**phase.bytes_by_kind, **around_tensors(plan, phase.name, gpu_name)},
        )
        for phase in phases
    )
    peak = max(phase.total for phase in with_context)
    return MemoryPrediction(
        phases=with_context,
        main_memory_bytes=main_memory_bytes(rank, peak, gpu_bytes(hardware)),
        nvme_bytes=round(offloaded_bytes(plan, "nvme") / plan.nodes),
        checkpoint_bytes=checkpoint_bytes(plan, plan.num_trained),
        activations=activations.source,
        unverified=(*unverified(plan, deepspeed), *activations.notes),
    )


def most(name: PhaseName, moments: Iterable[Held]) -> PhaseMemory:
    """Return a phase at the moment when it holds most."""
    held = max(moments, key=lambda moment: sum(moment.values()))
    return PhaseMemory(name, {kind: round(size) for kind, size in held.items()})


def around_tensors(plan: Plan, phase: PhaseName, name: str | None) -> dict[Kind, int]:
    """Return what a rank's device holds beside the tensors of a training, by kind.

    Args:
        plan: The plan.
        phase: Name of the phase.
        name: Name of the GPU; None if it is not known.
    """
    context: dict[Kind, int] = {"context": CONTEXT_BYTES[plan.accelerator]}
    if plan.accelerator == "cpu" or phase in WITHOUT_PRODUCTS:
        return context
    return {"workspaces": CUBLAS_HANDLES * workspace_bytes(name), **context}


def gpu_bytes(hardware: Hardware | None) -> float | None:
    """Return the memory of a GPU, bytes; None if it is not known."""
    memory = hardware.gpu_memory_gb if hardware else None
    return None if memory is None else memory * GB


def main_memory_bytes(rank: Rank, peak: float, there: float | None = None) -> int:
    """Return the main memory that a node's ranks take, bytes.

    What a rank loads passes through main memory, then what is made flat there, and
    later its shard of a checkpoint each time that one is saved, but never two of these
    at once. ZeRO-3's shards, which pass through it as they are made flat, are smaller
    than what is saved of them.

    Args:
        rank: What a rank holds.
        peak: The most that it holds on its device, bytes.
        there: Memory of its GPU, bytes; None: not known, or enough.
    """
    plan = rank.plan
    if there is not None:
        there -= CONTEXT_BYTES[plan.accelerator]
    saved = checkpoint_bytes(plan, plan.num_trained) / plan.world_size
    passing = max(loading_bytes(plan), saved, rank.flattened_in_main_memory(there))
    each = PROCESS_BYTES + passing + rank.swap_buffers
    if plan.accelerator == "cpu":
        each += peak
    offloaded = offloaded_bytes(plan, "cpu") / plan.nodes
    return round(plan.ranks_per_node * each + offloaded)


def unverified(plan: Plan, deepspeed: DeepSpeedSizes) -> tuple[str, ...]:
    """Return what of a plan's memory was never compared with a measurement."""
    notes = []
    if plan.accelerator == "cuda":
        notes.append("what the CUDA context and its libraries take beside tensors")
        if plan.attn_implementation != "varlen":
            notes.append("what attention's kernels take while they go backward")
        if (plan.attn_implementation, plan.precision) == ("sdpa", "fp32"):
            notes.append("sdpa in fp32: all scores, where heads share keys and values")
    if plan.pipeline_stages > 1:
        notes.append(
            "pipeline: stages are taken for equal parts, with as many passes at once"
        )
    if "nvme" in (plan.offload_optimizer, plan.offload_param):
        notes.append("buffers in main memory for what is on NVMe")
    if plan.offload_param != "none":
        notes.append("offloaded parameters: what of them is on a GPU at a time")
    if plan.nodes > 1:
        notes.append("several nodes: buffers of the network are not counted")
    if plan.torch_compile:
        notes.append("torch_compile: activations are those of layers not compiled")
    if plan.zero_stage == 3:
        notes += [f"{key}: what it takes is not counted" for key in deepspeed.uncounted]
    return tuple(notes)
