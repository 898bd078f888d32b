"""Cheap fingerprints: times and sizes of files, no byte of them read."""

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

# Snakemake's mark in a folder that it made; its time is the folder's.
TIMESTAMP = ".snakemake_timestamp"


def fingerprint(value: Any) -> str:
    """Return a short hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_files(paths: Iterable[str]) -> str:
    """Return what differs once a file, or a file in a folder, was written to."""
    return fingerprint([stat_tree(path) for path in paths])


def stat_tree(path: str) -> list[Any]:
    """Return path, time and size of a file, or of every file in a folder."""
    if not os.path.isdir(path):
        return stat_file(path)
    files = (
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name != TIMESTAMP
    )
    return [stat_file(file) for file in sorted(files)]


def stat_file(path: str) -> list[Any]:
    """Return path, time in ns and size in bytes; only the path if it is not there."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return [path]
    return [path, status.st_mtime_ns, status.st_size]
