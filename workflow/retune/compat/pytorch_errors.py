"""What went wrong in PyTorch, by the texts of its errors, which are not documented.

PyTorch raises a plain RuntimeError for much that goes wrong. Without these texts, a
training would end with a traceback where it should name the setting to change, say that
the disk is full, or name the rank that failed first.
"""

import re

# Texts of the allocators for CPU, GPU and pinned memory, in C++.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
# `Tried to allocate 2.50 GiB` on a GPU, `you tried to allocate 8388608 bytes` on a CPU.
ALLOCATION = re.compile(r"ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

# Texts of `torch.save` on a full disk; which, depends on the byte at which it was full.
FULL_DISK = ("PytorchStreamWriter", "iostream error", "inline_container")

# What torch.distributed raises on the other ranks when one has ended.
LOST_RANK_TYPES = ("DistBackendError", "DistNetworkError", "DistStoreError")
LOST_RANK = ("gloo", "Connection closed by peer", "Connection reset", "NCCL")


def is_memory_error(error: BaseException) -> bool:
    """Return whether an allocation failed; also of torch.OutOfMemoryError.

    Uses the texts in OUT_OF_MEMORY.
    """
    return has_text(error, OUT_OF_MEMORY)


def requested_bytes(error: BaseException) -> float:
    """Return the size of the allocation that failed; 0 if the text does not say it.

    Uses the wording of ALLOCATION.
    """
    found = ALLOCATION.search(str(error))
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def is_full_disk_error(error: BaseException) -> bool:
    """Return whether `torch.save` could not write; such an error has no errno.

    Uses the texts in FULL_DISK.
    """
    return has_text(error, FULL_DISK)


def is_lost_rank_error(error: BaseException) -> bool:
    """Return whether an error says that another rank has ended, or is late.

    Uses the texts in LOST_RANK and the names of classes in LOST_RANK_TYPES.
    """
    return type(error).__name__ in LOST_RANK_TYPES or has_text(error, LOST_RANK)


def is_in_collective(stack: str) -> bool:
    """Return whether a rank waits for the others in an operation of all of them.

    Uses the folder of the Python code of torch.distributed.

    Args:
        stack: The stacks of its threads, as `faulthandler` writes them.
    """
    return "/torch/distributed/" in stack


def has_text(error: BaseException, texts: tuple[str, ...]) -> bool:
    """Return whether a RuntimeError contains one of some texts."""
    return isinstance(error, RuntimeError) and any(t in str(error) for t in texts)
