"""The modification times by which Snakemake goes."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from retune_dvc.fingerprints import stat_tree
from retune_snakemake.snakemake_internals import TIMESTAMP


@contextmanager
def kept_times(paths: list[str]) -> Iterator[None]:
    """Keep the times of files and folders while DVC works on them.

    DVC may put an older file of equal bytes in a new one's place, with its time.
    """
    times = {path: get_time(path) for path in paths}
    try:
        yield
    finally:
        for path, time in times.items():
            if os.path.exists(path):
                set_time(path, time)


def make_replaceable(paths: Iterable[str]) -> None:
    """Let Snakemake replace files that are hard links into DVC's cache.

    DVC makes these read-only, and Snakemake refuses to replace a read-only file. Each
    becomes a copy of its own, as old as it was; the cache stays protected.
    """
    for path in paths:
        if os.path.isfile(path) and not os.stat(path).st_mode & stat.S_IWUSR:
            folder, name = os.path.split(path)
            copy = os.path.join(folder, f".{name}.{os.getpid()}")
            shutil.copy2(path, copy)
            os.chmod(copy, 0o644)
            os.replace(copy, path)


def time_made(paths: Iterable[str]) -> int:
    """Return when a step's outputs were made, in ns: the newest file among them."""
    there = list(filter(os.path.exists, paths))
    files = [path for path in there if os.path.isfile(path)]
    for folder in filter(os.path.isdir, there):
        files += [file.path for file in stat_tree(folder)]
    return max(map(get_time, files), default=0)


def get_time(path: str) -> int:
    """Return the time that Snakemake sees, in ns; 0 if there is nothing."""
    timestamp = os.path.join(path, TIMESTAMP)
    try:
        file = timestamp if os.path.exists(timestamp) else path
        return os.stat(file).st_mtime_ns
    except FileNotFoundError:
        return 0


def set_time(path: str, time: int) -> None:
    """Set the time that Snakemake sees, in ns."""
    if os.path.isdir(path):
        timestamp = os.path.join(path, TIMESTAMP)
        open(timestamp, "a").close()
        os.utime(timestamp, ns=(time, time))
    os.utime(path, ns=(time, time))
