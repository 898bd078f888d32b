"""Write files and folders so that a reader sees all of one or none of it."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# In a sealed file: what it says of others, and the hash of all else in it. This one is
# in a list because DVC shows every string of a metrics file as a metric.
FILES = "files"
SEAL = "sha256"
PIECE = 2**22

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
    write_text(path, as_text(value))


def as_text(value: Any) -> str:
    """Return `value` as indented JSON, which ends with a line's end."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_manifest(folder: Path, **origin: Any) -> None:
    """Write manifest.json: `origin` (source, revision, ...) and every file's bytes."""
    paths = sorted(path for path in folder.rglob("*") if is_listed(path, folder))
    write_sealed(folder / MANIFEST, origin, paths, folder)


def is_listed(path: Path, folder: Path) -> bool:
    """Return whether the manifest of a folder says of a path in it what is there.

    Files and folders whose names begin with a dot are marks of other tools.
    """
    is_mark = any(part[0] == "." for part in path.relative_to(folder).parts)
    return path.is_file() and path.name != MANIFEST and not is_mark


def write_sealed(
    path: Path,
    value: dict[str, Any],
    files: Iterable[Path] = (),
    folder: Path | None = None,
) -> None:
    """Write JSON that its readers can verify, and by it files written before.

    Args:
        path: The file; written last of what a step writes, it vouches for the rest.
        value: What it holds; without FILES and SEAL `read_verified` returns it.
        files: What the step has written beside it.
        folder: What they are named in; without it they go by their names alone.
    """
    assert FILES not in value, f"{FILES} would be written over"
    write_text(path, sealed_text({**value, FILES: file_entries(files, folder)}))


def file_entries(
    files: Iterable[Path], folder: Path | None = None
) -> list[dict[str, Any]]:
    """Return path, size and sha256 of files, as a manifest lists them.

    Args:
        files: The files.
        folder: What they are named in; without it they go by their names alone.
    """
    files = list(files)
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(sha256, files))
    return [
        {
            "path": file.relative_to(folder).as_posix() if folder else file.name,
            "size": file.stat().st_size,
            "sha256": digest,
        }
        for file, digest in zip(files, hashes, strict=True)
    ]


def sealed_text(value: dict[str, Any]) -> str:
    """Return indented JSON that ends with the hash of all before."""
    assert SEAL not in value, f"{SEAL} would be written over"
    seal = hashlib.sha256(as_text(value).encode()).hexdigest()
    return as_text({**value, SEAL: [seal]})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what a sealed file holds; None unless it is, to the byte, as written."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        rest = {key: value[key] for key in value if key != SEAL}
        return value if sealed_text(rest) == text else None
    except (ValueError, TypeError):
        return None


def sha256(path: Path, after_piece: Callable[[], None] = lambda: None) -> str:
    """Return the hex digest of a file's bytes, read in pieces."""
    digest, piece = hashlib.sha256(), bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(piece):
            digest.update(memoryview(piece)[:size])
            after_piece()
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Force a file or folder to disk, so that a rename never outlives its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
