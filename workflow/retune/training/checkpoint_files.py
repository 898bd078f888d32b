"""Checkpoints on disk: find them, and tell good ones from damaged ones."""

import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
from retune.publishing import FILES, MANIFEST, read_json, read_sealed, sha256

log = logging.getLogger("retune")

GB = 1e9
# Beside the shards: what the model's weights must be.
WEIGHTS = "weights.json"

# The unfinished checkpoint of a step; nobody reads it.
UNFINISHED = ".step-"


def find_checkpoints(state: Path) -> list[Path]:
    """Return the published checkpoints, oldest first."""
    return sorted(state.glob("step-*"))


def step_of(checkpoint: Path) -> int:
    """Return the step of a published checkpoint, also of a damaged one."""
    return int(checkpoint.name.removeprefix("step-"))


def newest_good(state: Path) -> Path | None:
    """Return the newest checkpoint whose every byte is as it was written.

    Raises:
        RetuneError: If there are checkpoints and none is good. Only a run that never
            saved begins at the first step without being told.
    """
    problems = []
    for folder in reversed(find_checkpoints(state)):
        problem = find_damage(folder)
        if problem is None and read_json(folder / MANIFEST)["run"] != state.name:
            problem = "it is another run's"
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
        if (loss := read_manifest(folder).get("validation_loss")) is not None
    }
    return min(losses, key=losses.__getitem__, default=None)


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, None if nothing is.

    torch.load checks no sum: a flipped bit would be trained on.
    """
    if not (folder / MANIFEST).exists():
        return f"{MANIFEST} is missing"
    files = read_manifest(folder).get(FILES)
    if files is None:
        return f"{MANIFEST} is damaged"
    with ThreadPoolExecutor() as pool:
        problems = pool.map(partial(find_damage_of_file, folder), files)
        return next(filter(None, problems), None)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest; empty if it is missing or damaged."""
    try:
        return read_sealed(folder / MANIFEST) or {}
    except FileNotFoundError:
        return {}


def find_damage_of_file(folder: Path, file: dict[str, Any]) -> str | None:
    """Return how a file differs from what the manifest says of it."""
    path = folder / file["path"]
    if not path.exists():
        return f"{file['path']} is missing"
    if path.stat().st_size != file["size"]:
        size = path.stat().st_size
        return f"{file['path']} has {size} bytes instead of {file['size']}"
    if sha256(path) != file["sha256"]:
        return f"{file['path']} has changed since it was written"
    return None


def checkpoint_bytes(plan: dict[str, Any], num_trained: int) -> int:
    """Return about how much disk a checkpoint takes, bytes, over all ranks.

    Adam's two moments and an fp32 copy of the trained weights, and, but for ZeRO-3,
    the weights in the training precision. At stage 0 the weights are the fp32 copy.

    Args:
        plan: What `configure` resolved.
        num_trained: Trained parameters of the whole model.
    """
    weights = 4 if plan["precision"] == "fp32" else 2
    states = 8 if plan["zero_stage"] == 0 else 12
    return num_trained * (states + (0 if plan["zero_stage"] == 3 else weights))


def check_disk(state: Path, size: int, keep: int) -> None:
    """Raise RetuneError unless the checkpoints of a run fit on the disk.

    Args:
        state: Folder of the run, which may hold checkpoints already.
        size: Bytes of one checkpoint.
        keep: Newest checkpoints that are kept.
    """
    # One that is being written, and the best one.
    needed = (keep + 2) * size
    there = sum(f.stat().st_size for f in state.rglob("*") if f.is_file())
    free = shutil.disk_usage(state).free + there
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
    """Make `target` a hard link to a file, or a copy where links cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
