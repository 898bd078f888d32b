"""Say which setting to change when a rank's memory runs out, and what would fit."""

import errno
import os
import re
import resource
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
from retune.publishing import read_json

GB = 1e9
# What the C++ parts of torch write: its allocators for CPU and GPU, pinned memory.
TEXTS = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
# `Tried to allocate 2.50 GiB` on a GPU, `you tried to allocate 8388608 bytes` on a CPU.
REQUEST = re.compile(r"ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError is a RuntimeError, too.
    return isinstance(error, RuntimeError) and any(t in str(error) for t in TEXTS)


def explain(
    error: Exception, plan_folder: Path, rank: int, step: int, before: float
) -> RetuneError:
    """Return what to tell the user of an error that says memory ran out.

    Args:
        error: It.
        plan_folder: With plan.json.
        rank: Where it happened.
        step: Optimizer step in which; 0 before the first.
        before: `memory_in_use` before training, GB.
    """
    plan = read_json(plan_folder / "plan.json")
    if plan["hardware"]["accelerator"] == "cuda":
        used, there = gpu_memory()
    else:
        used, there = cpu_memory()
    where = f"rank {rank} ran out of memory in step {step}"
    return RetuneError(
        f"{where} at {advise(plan, used + requested(error), there, before)}"
    )


def requested(error: BaseException) -> float:
    """Return the size of the allocation that failed, GB; 0 if the text has none."""
    found = REQUEST.search(str(error))
    return float(found[1]) * UNITS[found[2]] / GB if found else 0.0


def advise(plan: dict[str, Any], needed: float, there: float, before: float) -> str:
    """Return the settings that did not fit and the least change that would.

    Memory is taken as linear in the micro batch: what was in use before training and
    the model states stay, the rest is activations. An allocation that fails is not
    the last one, so `needed` is a lower bound, and so are the estimates.

    Args:
        plan: What plan.json holds.
        needed: Memory in use at its peak, with the allocation that failed, GB.
        there: Memory that this rank may use, GB.
        before: Memory in use before training began, GB.
    """
    micro = plan["micro_batch_size"]
    fixed = before + plan["model_states_gb_per_rank"]
    told = (
        f"configure.micro_batch_size: {micro} (needs about {max(needed, fixed):.1f} GB,"
        f" {there:.1f} GB are there): "
    )
    if fixed < min(needed, there):
        per_sequence = (needed - fixed) / micro
        for size in smaller(plan):
            if (use := fixed + per_sequence * size) <= there:
                return f"{told}write micro_batch_size: {size} (about {use:.1f} GB)"
        if micro > 1 and not plan["activation_checkpointing"]:
            return f"{told}write micro_batch_size: 1, activation_checkpointing: true"
        if not plan["activation_checkpointing"]:
            return f"{told}write configure.activation_checkpointing: true"
    if plan["zero_stage"] < 3 and plan["world_size"] > 1 and not has_stages(plan):
        return f"{told}write configure.zero_stage: 3, which shards the weights too"
    on_gpu = plan["hardware"]["accelerator"] == "cuda"
    can_offload = plan["zero_stage"] > 0 and not has_stages(plan)
    if on_gpu and plan["offload_optimizer"] == "none" and can_offload:
        return f"{told}write configure.offload_optimizer: cpu"
    what = "GPUs" if on_gpu else "memory"
    return (
        f"{told}write a tokenize.sequence_length below {plan['sequence_length']}, or"
        f" give the run more {what}"
    )


def smaller(plan: dict[str, Any]) -> list[int]:
    """Return the smaller micro batches that divide a rank's share, largest first."""
    ranks = plan["world_size"] // plan.get("pipeline_stages", 1)
    share = plan["global_batch_size"] // ranks
    sizes = range(plan["micro_batch_size"] - 1, 0, -1)
    return [size for size in sizes if share % size == 0]


def has_stages(plan: dict[str, Any]) -> bool:
    """Return whether the model is split over pipeline stages, which ZeRO-3 refuses."""
    return plan.get("pipeline_stages", 1) > 1


def gpu_memory() -> tuple[float, float]:
    """Return the peak of what this rank's tensors used, and what it could use, GB."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    return torch.cuda.max_memory_allocated() / GB, (free + reserved) / GB


def cpu_memory() -> tuple[float, float]:
    """Return the peak of this process's memory and what it could use, GB.

    Under a limit of the address space (ulimit -v) both are address space, else
    resident memory.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        return kilobytes("/proc/self/status", "VmPeak"), limit / GB
    free = kilobytes("/proc/meminfo", "MemAvailable")
    resident = kilobytes("/proc/self/status", "VmRSS")
    return kilobytes("/proc/self/status", "VmHWM"), free + resident


def memory_in_use() -> float:
    """Return what `cpu_memory` counts that no training has caused yet, GB; 0 on GPUs.

    Called before training: the interpreter and its libraries.
    """
    if os.environ.get("DS_ACCELERATOR") == "cuda":
        return 0.0
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    what = "VmRSS" if limit == resource.RLIM_INFINITY else "VmSize"
    return kilobytes("/proc/self/status", what)


def kilobytes(file: str, name: str) -> float:
    """Return a value that a file of /proc gives in kB, GB."""
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / GB
    raise KeyError(f"{file} has no {name}")
