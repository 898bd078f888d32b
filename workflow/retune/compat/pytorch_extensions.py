"""The folders in which PyTorch compiles extensions.

Uses `torch.utils.cpp_extension._get_build_directory`, and the name of the lock that
`torch.utils.file_baton` makes in such a folder. Without these, a lock that a killed
build has left would hold up every later training with an offloaded optimizer.
"""

from pathlib import Path

# A file that exists while an extension is built. PyTorch waits for its end without
# limit, also when the process that made it is dead.
LOCK = "lock"


def build_folder(extension: str) -> Path:
    """Return where PyTorch builds an extension, and keeps it; it is made if missing."""
    from torch.utils.cpp_extension import _get_build_directory

    return Path(_get_build_directory(extension, verbose=False))
