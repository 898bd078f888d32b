"""Cheap fingerprints: times and sizes of files, no byte of them read."""

import hashlib
import json
import os
from collections.abc import Iterable
from typing import NamedTuple

from retune_snakemake.snakemake_internals import TIMESTAMP


class FileStatus(NamedTuple):
    """Path, modification time in ns and size in bytes of a file.

    Time and size are None where the file does not exist.
    """

    path: str
    time: int | None = None
    size: int | None = None


def fingerprint(value: object) -> str:
    """Return a short hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_files(paths: Iterable[str]) -> str:
    """Return what differs once a file, or a file in a folder, was written to."""
    return fingerprint([stat_tree(path) for path in paths])


def stat_tree(path: str) -> list[FileStatus]:
    """Return the status of a file, or of every file in a folder."""
    if not os.path.isdir(path):
        return [stat_file(path)]
    files = (
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name != TIMESTAMP
    )
    return [stat_file(file) for file in sorted(files)]


def stat_file(path: str) -> FileStatus:
    """Return the status of one file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return FileStatus(path)
    return FileStatus(path, status.st_mtime_ns, status.st_size)
