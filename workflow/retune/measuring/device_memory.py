"""The most memory that a process has held, on a GPU or without one."""

import sys
from pathlib import Path
from types import ModuleType

from retune.measuring.phase_peaks import PhasePeaks
from retune.units import GB


def peak_memory_gb() -> float:
    """Return the most memory that this process has held, GB (10^9 bytes).

    With a GPU it is what torch has allocated on the GPU, in a training since it began;
    without one it is the resident set of the process.
    """
    return PEAKS.most / GB if cuda_in_use() else resident_gb("VmHWM")


def memory_before_gb(accelerator: str) -> float:
    """Return what this process holds before it loads a model, GB (10^9 bytes).

    It is counted as `peak_memory_gb` counts it: without a GPU the interpreter and its
    libraries; with one there are no tensors yet.

    Args:
        accelerator: `cpu` or `cuda`.
    """
    return resident_gb("VmRSS") if accelerator == "cpu" else 0.0


def resident_gb(name: str) -> float:
    """Return the resident set of this process, now (VmRSS) or at most (VmHWM), GB."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 / GB


def cuda_in_use() -> ModuleType | None:
    """Return torch.cuda if this process computes on a GPU, else None."""
    # A process that has not even imported torch has no GPU.
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None


# Of this process, as torch's own statistics are.
PEAKS = PhasePeaks(cuda_in_use)
