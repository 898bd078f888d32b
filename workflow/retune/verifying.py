"""What a step reads is what the step before wrote, byte for byte, or the run stops."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
from retune.publishing import FILES, MANIFEST, SEAL, is_listed, read_sealed, sha256

# A model's, which not every reader of its folder reads.
WEIGHTS = "*.safetensors"

MOST_TOLD = 3


@dataclass(frozen=True)
class Written:
    """A file as the step that wrote it has recorded it.

    Attributes:
        path: Where it is now.
        name: By which it is recorded.
        size: Its bytes.
        sha256: Of its bytes.
    """

    path: Path
    name: str
    size: int
    sha256: str


def verify_folder(folder: Path, step: str, leave_out: Iterable[str] = ()) -> None:
    """Compare a folder with its manifest.

    Args:
        folder: What is about to be read.
        step: The step that wrote it.
        leave_out: Patterns of names; of these files, which the caller does not read,
            only the sizes are compared.

    Raises:
        RetuneError: If the manifest or a file is damaged or missing, or if there is a
            file that the step did not write.
    """
    files = check_list(folder, step)
    verify_hashes([f for f in files if not matches(f, leave_out)], step)


def check_list(folder: Path, step: str) -> list[Written]:
    """Return the files of a folder's manifest once names and sizes are as it says.

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
    return [record(folder / entry["path"], entry) for entry in entries]


def read_verified(path: Path, step: str, *beside: Path) -> dict[str, Any]:
    """Return what a sealed JSON file holds, once it and files it vouches for are good.

    Args:
        path: The file.
        step: The step that wrote it.
        beside: Other files of that step, which go by their names.

    Raises:
        RetuneError: If one of them is damaged or missing.
    """
    value = unseal(path, step)
    entries = {entry["path"]: entry for entry in value[FILES]}
    files = [record(other, entries[other.name]) for other in beside]
    refuse(find_other_sizes(files, step), step)
    verify_hashes(files, step)
    return {key: value[key] for key in value if key not in (FILES, SEAL)}


def record(path: Path, entry: dict[str, Any]) -> Written:
    """Return a file with what its entry in a sealed file says of it."""
    return Written(path, entry["path"], entry["size"], entry["sha256"])


def unseal(path: Path, step: str) -> dict[str, Any]:
    """Return all that a sealed JSON file holds.

    Raises:
        RetuneError: If it is damaged or missing.
    """
    if not path.is_file():
        refuse([missing(path, step)], step)
    value = read_sealed(path)
    if value is None:
        refuse([changed(path, step)], step)
    return value


def find_other_sizes(files: Iterable[Written], step: str) -> list[str]:
    """Return what is missing, or has not the bytes that it had."""
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
        files: Those to read; the largest go first, so that no thread waits for one.
        step: The step that wrote them.
        threads: How many of them are read at a time; None: a few more than cores.
        after_piece: Called by each thread after every few megabytes.
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


def check_same(written: list[Written], copied: list[Written], step: str) -> None:
    """Raise RetuneError unless files went into another folder as they were written.

    Args:
        written: What the step wrote.
        copied: What is in the other folder, hashed there; there may be more in it.
        step: The step.
    """
    hashes = {file.name: file.sha256 for file in copied}
    problems = [
        changed(file.path, step)
        for file in written
        if hashes.get(file.name) != file.sha256
    ]
    refuse(problems, step)


def matches(file: Written, patterns: Iterable[str]) -> bool:
    """Return whether a file's name is of one of the patterns."""
    return any(fnmatch(file.path.name, pattern) for pattern in patterns)


def changed(path: Path, step: str) -> str:
    """Return what is wrong with a file that has other bytes."""
    return f"{path} is not what {step} wrote: its bytes have changed"


def missing(path: Path, step: str) -> str:
    """Return what is wrong with a file that is not there."""
    return f"{path}, which {step} writes, is missing"


def refuse(problems: list[str], step: str) -> None:
    """Raise RetuneError with what to do, if there are problems."""
    if problems:
        more = [f"{len(problems) - MOST_TOLD} more"] * (len(problems) > MOST_TOLD)
        told = "; ".join([*problems[:MOST_TOLD], *more])
        raise RetuneError(
            f"{told}; run {step} again: snakemake --cores all train --forcerun {step}"
        )
