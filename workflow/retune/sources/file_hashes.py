"""MD5 of the user's files, as DVC and `md5sum` have it; each is read once."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from retune.errors import RetuneError
from retune.progress import progress_bar
from retune.publishing import read_json, write_json

# What was seen of each file, so that one that did not change is not read again.
SEEN = Path(".snakemake/retune/user_files.json")
THREADS = 4
BLOCK_BYTES = 2**24
BACKSLASH = "\\"
# Where the size stands in what `state_of` returns.
SIZE = 2

T = TypeVar("T")


def list_with_md5(paths: Iterable[str]) -> str:
    """Return a line with MD5 and path of each file, as `md5sum --check` reads it.

    Raises:
        RetuneError: Naming every file that cannot be read, and why.
    """
    paths = list(paths)
    hashes = hash_files(paths)
    return "".join(md5sum_line(path, hashes[path]) for path in paths)


def hash_files(paths: list[str]) -> dict[str, str]:
    """Return the MD5 of each file, in hexadecimal digits.

    Raises:
        RetuneError: Naming every file that cannot be read, and why.
    """
    seen = recall()
    states = of_each(paths, state_of)
    new = [path for path in paths if seen.get(path, [])[:-1] != states[path]]
    if new:
        size = sum(states[path][SIZE] for path in new)
        with (
            progress_bar("checksums", size, "B", unit_scale=True, delay=1) as bar,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            futures = {path: pool.submit(hash_file, path, bar.update) for path in new}
            hashes = of_each(new, lambda path: futures[path].result())
        seen |= {path: [*states[path], hashes[path]] for path in new}
        write_json(SEEN, seen)
    return {path: seen[path][-1] for path in paths}


def of_each(paths: list[str], found: Callable[[str], T]) -> dict[str, T]:
    """Return what is found of each file.

    Raises:
        RetuneError: Naming every file that cannot be read, and why.
    """
    results: dict[str, T] = {}
    problems = []
    for path in paths:
        try:
            results[path] = found(path)
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
    if problems:
        raise RetuneError("\n".join(problems))
    return results


def state_of(path: str) -> list[int]:
    """Return what changes when a file is written to, or another takes its place.

    The time of the last change of its status, too: copies may keep the older one.

    Raises:
        OSError: If it cannot be read, though it did not change.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]


def hash_file(path: str, progress: Callable[[int], object]) -> str:
    """Return a file's MD5; `progress` is called with each number of bytes read."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


def recall() -> dict[str, list[Any]]:
    """Return what was seen of each file; nothing if that cannot be read."""
    try:
        return dict(read_json(SEEN))
    except (OSError, ValueError, TypeError):
        return {}


def md5sum_line(path: str, md5: str) -> str:
    """Return a line as `md5sum` writes it, which marks a name that it has to escape."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == path else BACKSLASH}{md5}  {escaped}\n"
