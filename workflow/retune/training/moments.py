"""The optimizer's moments: half of a checkpoint or more, and no part of the model."""

from pathlib import Path
from typing import Any

import torch

from retune.publishing import (
    MANIFEST,
    SEAL,
    read_json,
    sealed_text,
    sha256,
    write_text,
)

# What torch's and DeepSpeed's Adam call them, in whatever file a ZeRO stage keeps them.
MOMENTS = ("exp_avg", "exp_avg_sq")
# Files of their own, with optimizer states on NVMe: exp_avg-0_15.tensor.swp.
SWAPPED = tuple(f"{name}-" for name in MOMENTS)


def leave_out_moments(source: Path, target: Path) -> None:
    """Replace the files of `target` that hold moments by files without.

    Args:
        source: A checkpoint, which stays whole.
        target: Links to its files, or copies; afterwards with a manifest of its own.
    """
    manifest = read_json(source / MANIFEST)
    del manifest[SEAL]
    for file in list(manifest["files"]):
        path = target / file["path"]
        if path.name.startswith(SWAPPED):
            path.unlink()
            manifest["files"].remove(file)
        if path.suffix != ".pt":
            continue
        # Mapped, so that a shard need not fit into memory. A pickle, but one of ours.
        state = torch.load(
            source / file["path"], map_location="cpu", mmap=True, weights_only=False
        )
        if drop_moments(state):
            path.unlink()  # Writing into a link would change the source.
            torch.save(state, path)
            file.update(size=path.stat().st_size, sha256=sha256(path))
    write_text(target / MANIFEST, sealed_text(manifest))


def drop_moments(state: Any) -> bool:
    """Remove the moments from nested containers; return whether there were any."""
    if isinstance(state, list | tuple):
        return any([drop_moments(part) for part in state])
    if not isinstance(state, dict):
        return False
    found = [key for key in MOMENTS if state.pop(key, None) is not None]
    return any([drop_moments(part) for part in state.values()]) or bool(found)
