"""A checkpoint without the optimizer's moments, which are half of it or more.

The moments are what Adam needs to go on training; the model has none.
"""

from dataclasses import replace
from pathlib import Path

import torch

from retune.artifacts.checkpoint_manifest import CheckpointManifest, SavedFile
from retune.artifacts.publishing import sha256
from retune.compat.deepspeed_checkpoints import drop_moments, is_swapped_moment


def leave_out_moments(source: Path, target: Path) -> None:
    """Replace the files of `target` that hold moments by files without.

    Args:
        source: Folder of a checkpoint, which stays whole.
        target: Folder with links to its files, or copies; gets a manifest of its own.
    """
    manifest = CheckpointManifest.read(source)
    kept = [without_moments(source, target, file) for file in manifest.files]
    files = tuple(file for file in kept if file is not None)
    manifest.model_copy(update={"files": files}).write(target)


def without_moments(source: Path, target: Path, file: SavedFile) -> SavedFile | None:
    """Write a file of a checkpoint anew if it holds moments.

    Args:
        source: Folder of the checkpoint.
        target: Folder with a link to the file, or a copy.
        file: The file as it is in the checkpoint.

    Returns:
        The file as it is in `target` then; None if it held moments alone.
    """
    path = target / file.path
    if is_swapped_moment(path):
        path.unlink()
        return None
    if path.suffix != ".pt":
        return file
    # The file is mapped, so that a shard need not fit into memory. The pickle is one
    # of ours, and its objects are to be written again: all of it is loaded.
    state = torch.load(
        source / file.path, map_location="cpu", mmap=True, weights_only=False
    )
    if not drop_moments(state):
        return file
    path.unlink()  # Writing into a link would change the source.
    torch.save(state, path)
    return replace(file, size=path.stat().st_size, sha256=sha256(path))
