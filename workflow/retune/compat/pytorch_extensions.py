"""The folders in which PyTorch compiles extensions.

Uses `torch.utils.cpp_extension._get_build_directory`, and the name of the lock that
`torch.utils.file_baton` makes in such a folder. Without these, a lock that a killed
build has left would hold up every later training with an offloaded optimizer.
"""

import os
from pathlib import Path

# A file that exists while an extension is built. PyTorch waits for its end without
# limit, also when the process that made it is dead.
LOCK = "lock"


def build_folder(extension: str) -> Path:
    """Return where PyTorch builds an extension, and keeps it; it is made if missing."""
    from torch.utils.cpp_extension import _get_build_directory

    return Path(_get_build_directory(extension, verbose=False))


def is_built(extension: str) -> bool:
    """Return whether an extension was built before; no folder is made."""
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    return any(root.glob(f"**/{extension}/{extension}.so"))
