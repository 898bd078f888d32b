"""The most memory that a process has held, on a GPU or without one."""

import sys
from pathlib import Path
from types import ModuleType

from retune.units import GB


def peak_memory_gb() -> float:
    """Return the most memory that this process has held, GB (10^9 bytes).

    With a GPU it is what torch has allocated on the GPU; without one it is the resident
    set of the process.
    """
    if cuda := cuda_in_use():
        return cuda.max_memory_allocated() / GB
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / GB


def cuda_in_use() -> ModuleType | None:
    """Return torch.cuda if this process computes on a GPU, else None."""
    # A process that has not even imported torch has no GPU.
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_initialized() else None
