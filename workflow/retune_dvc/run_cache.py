"""Brings outputs back that an earlier run made from the same inputs and settings."""

from typing import Any

from retune.stages import Stage
from retune_dvc.commands import DoubtError


def restore(names: list[str], stages: dict[str, Stage]) -> list[str]:
    """Bring back the outputs of those steps that DVC's cache has; return which.

    A step is brought back only if all it reads is settled: recorded, or brought back.

    Args:
        names: The steps that would run, in the order of the run.
        stages: From dvc.yaml.

    Raises:
        DoubtError: If DVC's cache cannot be read.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    restored: list[str] = []
    unsettled: set[str] = set()
    try:
        with Repo() as repo, repo.lock:
            for name in names:
                if unsettled.isdisjoint(stages[name].deps) and is_cached(repo, name):
                    stage = repo.stage.load_one(name=name)
                    stage.remove_outs(force=True)
                    repo.stage_cache.restore(stage)
                    restored.append(name)
                else:
                    unsettled |= set(stages[name].outs)
    except DvcException as error:
        raise DoubtError(f"DVC's cache: {error}") from error
    return restored


def is_cached(repo: Any, name: str) -> bool:
    """Return whether the cache has what a stage would make of its inputs now."""
    from dvc.dependency.base import DependencyDoesNotExistError
    from dvc.stage.cache import RunCacheNotFoundError
    from dvc_data.hashfile.hash_info import HashInfo

    stage = repo.stage.load_one(name=name)
    try:
        if stage.changed_stage() or not stage.deps_cached():
            # Other inputs than dvc.lock names: the outputs it names are not these.
            stage.save_deps()
            for out in stage.outs:
                out.hash_info = HashInfo()
        repo.stage_cache.restore(stage, dry=True)
    except (RunCacheNotFoundError, DependencyDoesNotExistError):
        return False
    return True
