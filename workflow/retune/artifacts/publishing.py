"""Write files and folders so that a reader sees all of one or none of it.

A sealed file is JSON that ends with the hash of all before it. It may vouch for other
files, whose sizes and hashes it lists. The manifest of a folder is one.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

MANIFEST = "manifest.json"
# Keys of a sealed file: the list of the files that it vouches for, and the hash of all
# before. The hash is in a list because DVC shows every string of a metrics file as a
# metric.
FILES = "files"
SEAL = "sha256"
# Bytes that are read at a time.
PIECE = 2**22

# Bits of a file's mode that let everybody read it.
READABLE = 0o444


class FileEntry(TypedDict):
    """A file as a sealed file lists it, in JSON's shape.

    Attributes:
        path: Name of the file, or its path in the folder of a manifest.
        size: Number of bytes.
        sha256: Hex digest of the bytes.
    """

    path: str
    size: int
    sha256: str


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that replaces it if the block succeeds.

    After an error or an interruption an earlier `target` is as it was. What a killed
    process left behind is removed.
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
                # Some libraries write files that only their owner may read. The modes
                # of other files stay: a link into DVC's cache is read-only to protect
                # the cache.
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
    """Write the manifest of a folder, which vouches for every file in it.

    Args:
        folder: The folder, after everything else in it was written.
        origin: What else the manifest says, such as source and revision.
    """
    paths = sorted(path for path in folder.rglob("*") if is_listed(path, folder))
    write_sealed(folder / MANIFEST, origin, paths, folder)


def is_listed(path: Path, folder: Path) -> bool:
    """Return whether the manifest of a folder lists a path in it.

    Files and folders whose names begin with a dot are of other tools, and not listed.
    """
    is_hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
    return path.is_file() and path.name != MANIFEST and not is_hidden


def write_sealed(
    path: Path,
    value: dict[str, Any],
    files: Iterable[Path] = (),
    folder: Path | None = None,
) -> None:
    """Write a sealed file, by which its readers verify it and files written before.

    Args:
        path: The file, which is the last that a step writes.
        value: What the file holds beside the keys FILES and SEAL.
        files: The files that it vouches for.
        folder: Folder that these are listed relative to; by default they are listed by
            their names alone.
    """
    assert FILES not in value, f"{FILES} would be written over"
    write_text(path, sealed_text({**value, FILES: file_entries(files, folder)}))


def file_entries(files: Iterable[Path], folder: Path | None = None) -> list[FileEntry]:
    """Return files as a sealed file lists them.

    Args:
        files: The files.
        folder: Folder that these are listed relative to; by default they are listed by
            their names alone.
    """
    files = list(files)
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(sha256, files))
    return [
        FileEntry(
            path=file.relative_to(folder).as_posix() if folder else file.name,
            size=file.stat().st_size,
            sha256=digest,
        )
        for file, digest in zip(files, hashes, strict=True)
    ]


def sealed_text(value: dict[str, Any]) -> str:
    """Return the text of a sealed file."""
    assert SEAL not in value, f"{SEAL} would be written over"
    seal = hashlib.sha256(as_text(value).encode()).hexdigest()
    return as_text({**value, SEAL: [seal]})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what a sealed file holds; None if a byte is not as it was written."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        rest = {key: value[key] for key in value if key != SEAL}
        sealed = sealed_text(rest)
    except (ValueError, TypeError, AttributeError):
        return None
    return dict(value) if sealed == text else None


def sha256(path: Path, after_piece: Callable[[], None] = lambda: None) -> str:
    """Return the hex digest of a file's bytes.

    Args:
        path: The file.
        after_piece: Function that is called after every few megabytes.
    """
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
