"""The checkpoints of a run on disk: which there are, and which of them are good."""

import logging
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from retune.artifacts.checkpoint_manifest import CheckpointManifest, SavedFile
from retune.artifacts.publishing import FILES, MANIFEST, read_sealed, sha256
from retune.errors import RetuneError
from retune.units import GB

log = logging.getLogger("retune")

# Beginning of the name of a checkpoint that is still being written, which nobody reads.
UNFINISHED = ".step-"
# A copy that somebody has put beside a checkpoint may have any other name.
CHECKPOINT = re.compile(r"step-\d+")


def find_checkpoints(state: Path) -> list[Path]:
    """Return the published checkpoints, oldest first."""
    return sorted(f for f in state.glob("step-*") if CHECKPOINT.fullmatch(f.name))


def step_of(checkpoint: Path) -> int:
    """Return the step of a published checkpoint, also of a damaged one."""
    return int(checkpoint.name.removeprefix("step-"))


def newest_good(state: Path) -> Path | None:
    """Return the newest checkpoint whose every byte is as it was written.

    Raises:
        RetuneError: If there are checkpoints and none is good. Only a run that has
            never saved begins at the first step without being asked to.
    """
    problems = []
    for folder in reversed(find_checkpoints(state)):
        problem = find_damage(folder) or find_mismatch(folder, state.name)
        if problem is None:
            return folder
        log.warning("not using %s: %s", folder, problem)
        problems.append(f"{folder.name}: {problem}")
    if problems:
        raise RetuneError(
            f"{state}: no checkpoint in it is good ({'; '.join(problems)}); bring back"
            " a good copy, or remove the folder to train from the first step"
        )
    return None


def best_of(folders: list[Path]) -> Path | None:
    """Return the checkpoint with the lowest validation loss, None if none has one."""
    losses = {
        folder: loss
        for folder in folders
        if (loss := validation_loss_of(folder)) is not None
    }
    return min(losses, key=losses.__getitem__, default=None)


def validation_loss_of(folder: Path) -> float | None:
    """Return the validation loss of a checkpoint; None without a good manifest, too."""
    try:
        return CheckpointManifest.read(folder).validation_loss
    except RetuneError:
        return None


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, None if nothing is.

    All bytes are hashed, because torch.load does not check any: a flipped bit would be
    trained on. Of the manifest only the list of files is used, so that this holds for
    every folder with one that a step has published.
    """
    if not (folder / MANIFEST).exists():
        return f"{MANIFEST} is missing"
    manifest = read_sealed(folder / MANIFEST)
    if manifest is None or FILES not in manifest:
        return f"{MANIFEST} is damaged"
    files = [SavedFile(**entry) for entry in manifest[FILES]]
    with ThreadPoolExecutor() as pool:
        problems = pool.map(partial(find_damage_of_file, folder), files)
        return next(filter(None, problems), None)


def find_mismatch(folder: Path, run: str) -> str | None:
    """Return why a checkpoint that is not damaged is none of a run, None if it is."""
    try:
        manifest = CheckpointManifest.read(folder)
    except RetuneError as error:
        return str(error).removeprefix(f"{folder}/")
    return None if manifest.run == run else "it is another run's"


def find_damage_of_file(folder: Path, file: SavedFile) -> str | None:
    """Return how a file differs from its entry in the manifest, None if it does not."""
    path = folder / file.path
    if not path.exists():
        return f"{file.path} is missing"
    if (size := path.stat().st_size) != file.size:
        return f"{file.path} has {size} bytes instead of {file.size}"
    if sha256(path) != file.sha256:
        return f"{file.path} has changed since it was written"
    return None


def check_disk(state: Path, size: int, keep: int) -> None:
    """Raise RetuneError unless the checkpoints of a run fit on the disk.

    Args:
        state: Folder of the run, which may hold checkpoints already, or not be there.
        size: Size of one checkpoint, bytes.
        keep: Number of newest checkpoints that are kept.
    """
    # There may be two more: the best one, and the one that is being written.
    needed = (keep + 2) * size
    there = sum(f.stat().st_size for f in state.rglob("*") if f.is_file())
    place = next(
        folder for folder in (state, *state.absolute().parents) if folder.exists()
    )
    free = shutil.disk_usage(place).free + there
    if free < needed:
        raise RetuneError(
            f"{state}: checkpoints will take {needed / GB:,.1f} GB, {keep + 2} of"
            f" {size / GB:,.1f} GB, and {free / GB:,.1f} GB are free: make room, or"
            " lower finetune.save_total_limit"
        )


def link_folder(source: Path, target: Path) -> None:
    """Fill `target` with hard links to the files of `source`, or copies."""
    shutil.copytree(source, target, copy_function=link_file, dirs_exist_ok=True)


def link_file(source: str, target: str) -> None:
    """Make `target` a hard link to a file; a copy where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
