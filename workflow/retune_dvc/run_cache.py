"""Brings outputs back that an earlier run made from the same inputs and settings."""

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from retune.stages import Stage
from retune_dvc.commands import DoubtError

# Holds a file per step whose job is to bring its outputs back instead of making them.
CACHED = Path(".snakemake/retune_dvc/cached")


def restore(names: list[str], stages: dict[str, Stage]) -> dict[str, bool]:
    """Bring back the outputs of those steps that DVC's cache has.

    A step is brought back only if all it reads is settled: recorded, or brought back.

    Args:
        names: The steps that would run, in the order of the run.
        stages: From dvc.yaml.

    Returns:
        The steps that need not run, with whether anything had to be brought back.

    Raises:
        DoubtError: If DVC's cache cannot be read.
    """
    from dvc.exceptions import DvcException

    settled: dict[str, bool] = {}
    unsettled: set[str] = set()
    try:
        with open_repo() as repo, repo.lock:
            for name in names:
                stage = repo.stage.load_one(name=name)
                if not unsettled.isdisjoint(stages[name].deps):
                    unsettled |= set(stages[name].outs)
                elif not stage.changed():
                    settled[name] = False
                elif is_cached(repo, name):
                    stage.remove_outs(force=True)
                    repo.stage_cache.restore(stage)
                    settled[name] = True
                else:
                    unsettled |= set(stages[name].outs)
    except DvcException as error:
        raise DoubtError(f"DVC's cache: {error}") from error
    return settled


def save_results(names: Iterable[str]) -> None:
    """Have DVC's cache know the results that DVC itself has run, to bring them back.

    `dvc repro` saves none of a stage that leaves files to git, as `plan` and the
    training's history are; `dvc commit` does. What cannot be saved is left out.

    Args:
        names: The steps; one whose outputs are not those of dvc.lock is left out.
    """
    from dvc.exceptions import DvcException

    with open_repo() as repo:
        for name in names:
            # Whether DVC runs it now, it was never recorded, or is no stage here.
            with suppress(DvcException, OSError):
                stage = repo.stage.load_one(name=name)
                if is_recorded(stage):
                    repo.stage_cache.save(stage)


def is_recorded(stage: Any) -> bool:
    """Return whether dvc.lock has all of a stage, and its outputs are those."""
    known = all(item.hash_info for item in [*stage.deps, *stage.outs])
    return known and not any(out.status() for out in stage.outs)


def would_restore(step: str) -> bool:
    """Return whether DVC's cache has what a step is about to make."""
    from dvc.exceptions import DvcException

    try:
        with open_repo() as repo:
            return is_cached(repo, step)
    except DvcException:
        return False


def open_repo() -> Any:
    """Return DVC's view of this folder; what it does is ours to say."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    return Repo()


def is_cached(repo: Any, name: str) -> bool:
    """Return whether the cache has what a stage would make of its inputs now."""
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.stage.cache import RunCacheNotFoundError

    stage = repo.stage.load_one(name=name)
    try:
        if stage.changed_stage() or not stage.deps_cached():
            # Other inputs than dvc.lock names: the outputs it names are not these.
            stage.save_deps()
            for out in stage.outs:
                out.hash_info = type(out.hash_info)()
        repo.stage_cache.restore(stage, dry=True)
    except (RunCacheNotFoundError, DependencyDoesNotExistError):
        return False
    return True
