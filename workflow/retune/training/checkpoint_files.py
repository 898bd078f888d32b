"""Checkpoints on disk: find them, and tell good ones from damaged ones."""

import logging
import os
import shutil
from pathlib import Path

from retune.publishing import MANIFEST, read_json, sha256

log = logging.getLogger("retune")

# Beside the shards of a run's last checkpoint: what its weights must be.
WEIGHTS = "weights.json"


def find_checkpoints(state: Path) -> list[Path]:
    """Return the published checkpoints, oldest first."""
    return sorted(state.glob("step-*"))


def newest_good(state: Path) -> Path | None:
    """Return the newest checkpoint whose every byte is as it was written."""
    for folder in reversed(find_checkpoints(state)):
        problem = find_damage(folder)
        if problem is None:
            return folder
        log.warning("not using %s: %s", folder, problem)
    return None


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint, None if nothing is."""
    if not (folder / MANIFEST).exists():
        return f"{MANIFEST} is missing"
    for file in read_json(folder / MANIFEST)["files"]:
        path = folder / file["path"]
        if not path.exists():
            return f"{file['path']} is missing"
        if path.stat().st_size != file["size"]:
            size = path.stat().st_size
            return f"{file['path']} has {size} bytes instead of {file['size']}"
        if sha256(path) != file["sha256"]:
            return f"{file['path']} has changed since it was written"
    return None


def link_folder(source: Path, target: Path) -> None:
    """Fill `target` with hard links to the files of `source`, or copies."""
    shutil.copytree(source, target, copy_function=link_file, dirs_exist_ok=True)


def link_file(source: str, target: str) -> None:
    """Make `target` a hard link to a file, or a copy where links cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
