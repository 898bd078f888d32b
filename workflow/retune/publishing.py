"""Write files and folders so that a reader sees all of one or none of it."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

# By everybody, as a file's mode says it.
READABLE = 0o444


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that replaces it if the block succeeds.

    After an error or an interruption an earlier `target` is as it was; what a killed
    try left behind is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    earlier = stage.with_name(f"{stage.name}.earlier")
    try:
        stage.chmod(0o755)
        yield stage
        for path in sorted(stage.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
            elif path.stat().st_mode & READABLE != READABLE:
                # Some libraries write files that only their owner may read. All others
                # stay as they are: a link into DVC's cache is read-only to protect it.
                path.chmod(0o644)
            sync(path)
        if target.exists():
            target.rename(earlier)
        stage.rename(target)
        sync(target.parent)
    finally:
        if earlier.exists() and not target.exists():
            earlier.rename(target)
        for leftover in (stage, earlier):
            shutil.rmtree(leftover, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file by one atomic rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        stage.write_text(text, encoding="utf-8")
        sync(stage)
        stage.rename(path)
    finally:
        stage.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are errors."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_manifest(folder: Path, **origin: Any) -> None:
    """Write manifest.json: `origin` (source, revision, ...) and every file's bytes."""
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        # Files whose names begin with a dot are marks of other tools.
        if path.is_file() and path.name != MANIFEST and path.name[0] != "."
    ]
    write_json(folder / MANIFEST, {**origin, "files": files})


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file or folder to disk, so that a rename never outlives its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
