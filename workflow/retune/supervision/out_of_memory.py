"""Whether a rank's memory ran out, and how much it had and needed."""

import errno
import os
import resource
from pathlib import Path

from retune.artifacts.memory_shortage import MemoryShortage
from retune.artifacts.plan import Plan
from retune.compat.pytorch_errors import is_memory_error, requested_bytes
from retune.errors import RetuneError
from retune.measuring.device_memory import peak_memory_gb
from retune.units import GB


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return is_memory_error(error)


class OutOfMemoryError(RetuneError):
    """A rank that ran out of memory, with what it knew of it."""

    def __init__(self, message: str, shortage: MemoryShortage) -> None:
        """Take the error in words and in numbers."""
        super().__init__(message)
        self.shortage = shortage


def explain(
    error: Exception, plan: Plan, rank: int, step: int, before: float
) -> OutOfMemoryError:
    """Return the error that says to the user which memory ran out.

    What to change is found by `retune.launching.memory_advice`, in a process that has
    memory left.

    Args:
        error: An error that says memory ran out.
        plan: The plan of the training.
        rank: Rank on which it happened.
        step: Optimizer step in which it happened; 0 before the first.
        before: What `memory_in_use` returned before training, GB.
    """
    on_gpu = plan.accelerator == "cuda"
    used, there = gpu_memory() if on_gpu else cpu_memory()
    needed = used + requested_bytes(error) / GB
    return OutOfMemoryError(
        f"rank {rank} ran out of memory in step {step} at configure.micro_batch_size:"
        f" {plan.micro_batch_size} (needs about {needed:.1f} GB, {there:.1f} GB are"
        " there)",
        MemoryShortage(needed, there, before),
    )


def gpu_memory() -> tuple[float, float]:
    """Return the peak of the memory of this rank's tensors and what it may use, GB."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    return peak_memory_gb(), (free + reserved) / GB


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
