"""Drops damaged objects from DVC's cache where a step has just made a good copy.

A file of the workspace and DVC's object of it are one file: a bit that flips in one has
flipped in both. DVC never reads an object again, and would put the damaged one in the
place of an equal file that was made anew.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retune_dvc.commands import DoubtError, reason_in
from retune_dvc.run_cache import open_repo


def drop_damaged(step: str) -> None:
    """Drop the damaged objects of what a step has made; `dvc commit` adds good ones.

    Raises:
        DoubtError: If DVC cannot say what is in its cache.
    """
    from dvc.exceptions import DvcException

    try:
        with open_repo() as repo, repo.lock:
            stage = repo.stage.load_one(name=step)
            for out in stage.outs:
                if out.use_cache:
                    out.save()
                    for made, cached, md5 in objects_of(out):
                        drop_if_damaged(made, cached, md5)
    except DvcException as error:
        raise DoubtError(reason_in(str(error))) from error


def objects_of(out: Any) -> Iterator[tuple[Path, Path, str]]:
    """Yield each file of an output, the path of its object, and the MD5 of both."""

    def named(path: Path, value: str) -> tuple[Path, Path, str]:
        return path, Path(out.cache.oid_to_path(value)), value.removesuffix(".dir")

    folder = Path(out.fs_path)
    # Of a folder the object is a list of its files.
    yield named(folder, out.hash_info.value)
    if out.is_dir_checksum:
        for key, _, info in out.obj:
            yield named(folder.joinpath(*key), info.value)


def drop_if_damaged(made: Path, cached: Path, md5: str) -> None:
    """Remove an object that is another file than the one just made, and other bytes."""
    if cached.exists() and not os.path.samefile(made, cached):
        with cached.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            cached.unlink()
