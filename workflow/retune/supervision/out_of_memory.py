"""Which setting to change when a rank's memory runs out, and what would fit."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

from retune.artifacts.plan import Plan
from retune.compat.pytorch_errors import is_memory_error, requested_bytes
from retune.errors import RetuneError
from retune.planning.memory_prediction import bytes_beside_activations
from retune.settings import split_problems, strategy_problems
from retune.units import GB


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return is_memory_error(error)


def explain(
    error: Exception, plan: Plan, rank: int, step: int, before: float
) -> RetuneError:
    """Return the error that says to the user what to change.

    Args:
        error: An error that says memory ran out.
        plan: The plan of the training.
        rank: Rank on which it happened.
        step: Optimizer step in which it happened; 0 before the first.
        before: What `memory_in_use` returned before training, GB.
    """
    if plan.accelerator == "cuda":
        used, there = gpu_memory()
    else:
        used, there = cpu_memory()
    where = f"rank {rank} ran out of memory in step {step}"
    needed = used + requested_bytes(error) / GB
    return RetuneError(f"{where} at {advise(plan, needed, there, before)}")


def advise(plan: Plan, needed: float, there: float, before: float) -> str:
    """Return the settings that did not fit and the least change that would.

    Memory is taken as linear in the micro-batch: what was in use before training and
    what is predicted beside activations stay, the rest is activations. An allocation
    that fails is not the last one, so `needed` is a lower bound, and so are the
    estimates.

    Args:
        plan: The plan of the training.
        needed: Peak of the memory in use, with the allocation that failed, GB.
        there: Memory that this rank may use, GB.
        before: Memory in use before training began, GB.
    """
    micro = plan.micro_batch_size
    fixed = before + bytes_beside_activations(plan) / GB
    problem = (
        f"configure.micro_batch_size: {micro} (needs about {max(needed, fixed):.1f} GB,"
        f" {there:.1f} GB are there): "
    )
    if fixed < min(needed, there):
        per_sequence = (needed - fixed) / micro
        for size in smaller(plan):
            if (use := fixed + per_sequence * size) <= there:
                return f"{problem}write micro_batch_size: {size} (about {use:.1f} GB)"
        every_layer = plan.activation_checkpointing_interval == 1
        if plan.activation_checkpointing is not True or not every_layer:
            most = "activation_checkpointing: true"
            if not every_layer:
                most += ", activation_checkpointing_interval: 1"
            if micro > 1:
                return f"{problem}write micro_batch_size: 1, {most}"
            return f"{problem}write configure.{most}"
    is_in_4bit = plan.num_4bit_parameters > 0
    can_shard = plan.zero_stage < 3 and plan.world_size > 1 and not is_in_4bit
    if can_shard and is_possible(plan, zero_stage=3):
        return f"{problem}write configure.zero_stage: 3, which shards the weights too"
    on_gpu = plan.accelerator == "cuda"
    missing = max(needed, fixed) - there
    if on_gpu and plan.offload_optimizer == "none":
        # DeepSpeed's AdamW for main memory has moments of 32 bits.
        offloaded = {"offload_optimizer": "cpu", "optim": "adamw"}
        changes = {k: v for k, v in offloaded.items() if getattr(plan, k) != v}
        if is_possible(plan, **changes) and freed_gb(plan, **changes) >= missing:
            words = ", ".join(f"{key}: {value}" for key, value in changes.items())
            return f"{problem}write configure.{words}"
    if plan.num_adapter_parameters and plan.zero_stage < 3 and not is_in_4bit:
        return f"{problem}write finetune.lora.load_in_4bit: true"
    what = "GPUs" if on_gpu else "memory"
    return (
        f"{problem}write a tokenize.sequence_length below {plan.sequence_length}, or"
        f" give the run more {what}"
    )


def freed_gb(plan: Plan, **changes: Any) -> float:
    """Return how much less a rank holds beside activations after changes, GB."""
    changed = plan.model_copy(update={**changes, "num_8bit_moments": 0})
    freed = bytes_beside_activations(plan) - bytes_beside_activations(changed)
    return freed / GB


def smaller(plan: Plan) -> list[int]:
    """Return the smaller micro-batches that a step can have, largest first."""
    sizes = range(plan.micro_batch_size - 1, 0, -1)
    return [size for size in sizes if is_possible(plan, micro_batch_size=size)]


def is_possible(plan: Plan, **changes: Any) -> bool:
    """Return whether a plan goes with the rules after changes of its strategy."""
    changed = plan.model_copy(update=changes)
    return not (strategy_problems(changed) or split_problems(changed, plan.world_size))


def gpu_memory() -> tuple[float, float]:
    """Return the peak of the memory of this rank's tensors and what it may use, GB."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    return torch.cuda.max_memory_allocated() / GB, (free + reserved) / GB


def cpu_memory() -> tuple[float, float]:
    """Return the peak of this process's memory and what it may use, GB.

    Both are address space if that is limited (ulimit -v), and resident memory if not.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        return read_gigabytes("/proc/self/status", "VmPeak"), limit / GB
    free = read_gigabytes("/proc/meminfo", "MemAvailable")
    resident = read_gigabytes("/proc/self/status", "VmRSS")
    return read_gigabytes("/proc/self/status", "VmHWM"), free + resident


def memory_in_use() -> float:
    """Return the memory that this process uses now, as `cpu_memory` counts it, GB.

    Before training that is the interpreter and its libraries. 0 on GPUs.
    """
    if os.environ.get("DS_ACCELERATOR") == "cuda":
        return 0.0
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    what = "VmRSS" if limit == resource.RLIM_INFINITY else "VmSize"
    return read_gigabytes("/proc/self/status", what)


def read_gigabytes(file: str, name: str) -> float:
    """Return a value of a file of /proc, where it stands in kB, in GB."""
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / GB
    raise KeyError(f"{file} has no {name}")
