"""Verify that what a step reads is, byte for byte, what the step before wrote."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from retune.artifacts.publishing import (
    FILES,
    MANIFEST,
    SEAL,
    FileEntry,
    is_listed,
    read_sealed,
    sha256,
)
from retune.errors import RetuneError

# The files of a model's weights, which not every reader of its folder reads.
WEIGHTS = "*.safetensors"

# Number of problems that a message names.
MOST_NAMED = 3


@dataclass(frozen=True)
class Written:
    """A file as the step that wrote it has listed it.

    Attributes:
        path: Path of the file now.
        name: Name, or path in its folder, under which it is listed.
        size: Number of bytes.
        sha256: Hex digest of the bytes.
    """

    path: Path
    name: str
    size: int
    sha256: str


def verify_folder(folder: Path, step: str, leave_out: Iterable[str] = ()) -> None:
    """Compare a folder with its manifest.

    Args:
        folder: Folder that is about to be read.
        step: Name of the step that wrote it.
        leave_out: Patterns of the names of files that the caller does not read. Only
            their sizes are compared.

    Raises:
        RetuneError: If the manifest or a file is damaged or missing, or if there is a
            file that the step did not write.
    """
    files = check_list(folder, step)
    verify_hashes([f for f in files if not matches(f, leave_out)], step)


def check_list(folder: Path, step: str) -> list[Written]:
    """Return the files that a folder's manifest lists, if they have the listed sizes.

    Raises:
        RetuneError: See `verify_folder`.
    """
    files = read_list(folder, step)
    known = {file.path for file in files}
    foreign = [
        f"{path} was not written by {step}"
        for path in sorted(folder.rglob("*"))
        if is_listed(path, folder) and path not in known
    ]
    refuse([*find_other_sizes(files, step), *foreign], step)
    return files


def read_list(folder: Path, step: str) -> list[Written]:
    """Return the files that a folder's manifest lists.

    Raises:
        RetuneError: If the manifest is damaged or missing.
    """
    entries = unseal(folder / MANIFEST, step)[FILES]
    return [written(folder / entry["path"], entry) for entry in entries]


def read_verified(path: Path, step: str, *beside: Path) -> dict[str, Any]:
    """Return what a sealed file holds, if it and files that it vouches for are good.

    Args:
        path: The file.
        step: Name of the step that wrote it.
        beside: Files of that step which it vouches for by their names.

    Raises:
        RetuneError: If one of them is damaged or missing.
    """
    value = unseal(path, step)
    entries = {entry["path"]: entry for entry in value[FILES]}
    files = [written(other, entries[other.name]) for other in beside]
    refuse(find_other_sizes(files, step), step)
    verify_hashes(files, step)
    return {key: value[key] for key in value if key not in (FILES, SEAL)}


def written(path: Path, entry: FileEntry) -> Written:
    """Return a file that a sealed file lists."""
    return Written(path, entry["path"], entry["size"], entry["sha256"])


def unseal(path: Path, step: str) -> dict[str, Any]:
    """Return all that a sealed file holds.

    Raises:
        RetuneError: If it is damaged or missing.
    """
    if not path.is_file():
        raise refusal([missing(path, step)], step)
    value = read_sealed(path)
    if value is None:
        raise refusal([changed(path, step)], step)
    return value


def find_other_sizes(files: Iterable[Written], step: str) -> list[str]:
    """Return which files are missing or have another size, a problem each."""
    problems = []
    for file in files:
        if not file.path.is_file():
            problems.append(missing(file.path, step))
        elif (size := file.path.stat().st_size) != file.size:
            problems.append(
                f"{file.path} is not what {step} wrote: it has {size:,} bytes instead"
                f" of {file.size:,}"
            )
    return problems


def verify_hashes(
    files: Iterable[Written],
    step: str,
    threads: int | None = None,
    after_piece: Callable[[], None] = lambda: None,
) -> None:
    """Raise RetuneError if the bytes of a file are not those that were written.

    Args:
        files: The files. The largest are read first, so that no thread waits for one.
        step: Name of the step that wrote them.
        threads: Number of files that are read at a time; None: a few more than cores.
        after_piece: Function that each thread calls after every few megabytes.
    """
    files = sorted(files, key=lambda file: -file.size)
    hash_file = partial(sha256, after_piece=after_piece)
    with ThreadPoolExecutor(threads) as pool:
        hashes = list(pool.map(hash_file, [file.path for file in files]))
    problems = [
        changed(file.path, step)
        for file, found in zip(files, hashes, strict=True)
        if found != file.sha256
    ]
    refuse(problems, step)


def check_same(originals: list[Written], copies: list[Written], step: str) -> None:
    """Raise RetuneError unless files are in another folder as they were written.

    Args:
        originals: The files, as the step that wrote them has listed them.
        copies: All files of the other folder, hashed there.
        step: Name of the step that wrote the files.
    """
    hashes = {file.name: file.sha256 for file in copies}
    problems = [
        changed(file.path, step)
        for file in originals
        if hashes.get(file.name) != file.sha256
    ]
    refuse(problems, step)


def matches(file: Written, patterns: Iterable[str]) -> bool:
    """Return whether a file's name matches one of the patterns."""
    return any(fnmatch(file.path.name, pattern) for pattern in patterns)


def changed(path: Path, step: str) -> str:
    """Return what is wrong with a file that has other bytes."""
    return f"{path} is not what {step} wrote: its bytes have changed"


def missing(path: Path, step: str) -> str:
    """Return what is wrong with a file that is not there."""
    return f"{path}, which {step} writes, is missing"


def refuse(problems: list[str], step: str) -> None:
    """Raise RetuneError if there are problems."""
    if problems:
        raise refusal(problems, step)


def refusal(problems: list[str], step: str) -> RetuneError:
    """Return an error that names problems and the command that mends them."""
    more = [f"{len(problems) - MOST_NAMED} more"] * (len(problems) > MOST_NAMED)
    named = "; ".join([*problems[:MOST_NAMED], *more])
    return RetuneError(
        f"{named}; run {step} again: snakemake --cores all train --forcerun {step}"
    )
