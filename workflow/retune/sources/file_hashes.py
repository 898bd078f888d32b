"""MD5 of the user's files, as DVC and `md5sum` have it; a file is read only once.

A list of the files that were read before, with the state each was in, is kept beside
Snakemake's own records. A file that is still in that state is not read again.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from retune.terminal.progress import progress_bar

SEEN = Path(".snakemake/retune/user_files.json")
THREADS = 4
BLOCK_BYTES = 2**24
BACKSLASH = "\\"

T = TypeVar("T")


@dataclass(frozen=True)
class FileState:
    """What changes when a file is written to, or another file takes its place.

    Attributes:
        modified: Time of the last change of the content, nanoseconds.
        status_changed: Time of the last change of the status, nanoseconds; a copy may
            keep the older time of its content, but not this one.
        size: Size of the file, bytes.
        inode: Number of the file in its file system.
    """

    modified: int
    status_changed: int
    size: int
    inode: int


@dataclass(frozen=True)
class SeenFile:
    """A file that was read before.

    Attributes:
        state: State of the file when it was read.
        md5: MD5 of its bytes, hexadecimal.
    """

    state: FileState
    md5: str


def list_with_md5(paths: Iterable[str]) -> str:
    """Return a line with MD5 and path of each file, as `md5sum --check` reads it.

    Raises:
        RetuneError: Naming every file that cannot be read, and why.
    """
    paths = list(paths)
    hashes = hash_files(paths)
    return "".join(md5sum_line(path, hashes[path]) for path in paths)


def hash_files(paths: list[str]) -> dict[str, str]:
    """Return the MD5 of each file, hexadecimal.

    Raises:
        RetuneError: Naming every file that cannot be read, and why.
    """
    seen = read_seen()
    states = for_each(paths, state_of)
    new = [
        path for path in paths if path not in seen or seen[path].state != states[path]
    ]
    if new:
        size = sum(states[path].size for path in new)
        with (
            progress_bar("checksums", size, "B", unit_scale=True, delay=1) as bar,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            futures = {path: pool.submit(hash_file, path, bar.update) for path in new}
            hashes = for_each(new, lambda path: futures[path].result())
        seen |= {path: SeenFile(states[path], hashes[path]) for path in new}
        write_json(SEEN, {path: asdict(file) for path, file in seen.items()})
    return {path: seen[path].md5 for path in paths}


def for_each(paths: list[str], find: Callable[[str], T]) -> dict[str, T]:
    """Return what `find` returns for each file.

    Raises:
        RetuneError: Naming every file that cannot be read, and why.
    """
    results: dict[str, T] = {}
    problems = []
    for path in paths:
        try:
            results[path] = find(path)
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
    if problems:
        raise RetuneError("\n".join(problems))
    return results


def state_of(path: str) -> FileState:
    """Return the state of a file, which is opened so that an unreadable one is noticed.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
    return FileState(
        modified=status.st_mtime_ns,
        status_changed=status.st_ctime_ns,
        size=status.st_size,
        inode=status.st_ino,
    )


def hash_file(path: str, progress: Callable[[int], object]) -> str:
    """Return the MD5 of a file, hexadecimal.

    Args:
        path: Path of the file.
        progress: Function that is called with the number of bytes after each block.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


def read_seen() -> dict[str, SeenFile]:
    """Return the files that were read before; none if their list cannot be read."""
    try:
        return {
            path: SeenFile(FileState(**file["state"]), file["md5"])
            for path, file in read_json(SEEN).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def md5sum_line(path: str, md5: str) -> str:
    """Return a line as `md5sum` writes it: a backslash begins one with an escape."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == path else BACKSLASH}{md5}  {escaped}\n"
