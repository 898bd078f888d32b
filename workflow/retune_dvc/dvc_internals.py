"""Every private or undocumented name of DVC that this project uses.

DVC documents its commands and the files dvc.yaml and dvc.lock, not its Python modules.
Each function says which names it uses and what no longer works without them. They are
tested against DVC itself in tests/unit/test_dvc_internals.py, which fails first when
another release of DVC has other names.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune_dvc.errors import UnknownStateError

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

# The folder of DVC's locks; an entry of rwlock there names a process and its files.
LOCKS = Path(".dvc/tmp")
# Set by DVC in the command of a stage that it runs.
DRIVEN_BY_DVC = "DVC_STAGE"


def load_commands() -> None:
    """Load what DVC's commands need, for processes that are forked from this one.

    Uses the modules of the commands `commit` and `status`. Without them DVC's commands
    run in processes that load DVC anew, which takes longer.
    """
    for module in ("cli", "commands.commit", "commands.status", "repo", "stage.cache"):
        import_module(f"dvc.{module}")


def run_command(arguments: Sequence[str]) -> int:
    """Run a command as `dvc` does; return its exit code.

    Uses `dvc.cli.main`: see `load_commands`.
    """
    from dvc.cli import main

    code: int = main(list(arguments))
    return code


def open_repo() -> AbstractContextManager["Repo"]:
    """Return DVC's view of this folder, without DVC's own messages.

    Uses `dvc.repo.Repo` and the logger `dvc`. Without them nothing is brought back from
    DVC's cache, and steps are not recorded.
    """
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    repo: AbstractContextManager[Repo] = Repo()
    return repo


def restore_from_run_cache(
    names: list[str], reads: dict[str, Iterable[str]], writes: dict[str, Iterable[str]]
) -> dict[str, bool]:
    """Bring back the outputs of those stages that DVC's cache has.

    Uses `repo.lock`, `repo.stage.load_one`, `stage.changed`, `stage.remove_outs` and
    `repo.stage_cache.restore`. Without them steps run whose results DVC's cache has.

    Args:
        names: Names of the stages, in the order of the run.
        reads: Paths that each stage reads and another stage writes.
        writes: Paths that each stage writes.

    Returns:
        The stages whose outputs are now right, with whether they had to be brought
        back. One that reads the outputs of another which is not is not among them.

    Raises:
        UnknownStateError: If DVC's cache cannot be read.
    """
    from dvc.exceptions import DvcException

    right: dict[str, bool] = {}
    to_come: set[str] = set()
    try:
        with open_repo() as repo, repo.lock:
            for name in names:
                stage = repo.stage.load_one(name=name)
                if not to_come.isdisjoint(reads[name]):
                    to_come |= set(writes[name])
                elif not stage.changed():
                    right[name] = False
                elif is_in_run_cache(repo, name):
                    stage.remove_outs(force=True)
                    repo.stage_cache.restore(stage)
                    right[name] = True
                else:
                    to_come |= set(writes[name])
    except DvcException as error:
        raise UnknownStateError(f"DVC's cache: {error}") from error
    return right


def would_restore(name: str) -> bool:
    """Return whether DVC's cache has what a stage is about to make.

    Uses what `is_in_run_cache` uses.
    """
    from dvc.exceptions import DvcException

    try:
        with open_repo() as repo:
            return is_in_run_cache(repo, name)
    except DvcException:
        return False


def is_in_run_cache(repo: "Repo", name: str) -> bool:
    """Return whether the cache has what a stage would make of its inputs now.

    Uses `stage.changed_stage`, `stage.deps_cached`, `stage.save_deps`, `out.hash_info`
    and `repo.stage_cache.restore`. Without them steps run whose results are in DVC's
    cache.
    """
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


def save_to_run_cache(names: Iterable[str]) -> None:
    """Have DVC's cache know the results that DVC itself has run, to bring them back.

    `dvc repro` saves none of a stage that leaves files to git, as `plan` and the
    training's history are; `dvc commit` does. What cannot be saved is left out.

    Uses `repo.stage.load_one` and `repo.stage_cache.save`. Without them results of
    `dvc repro` are not brought back later.

    Args:
        names: Names of the stages; one whose outputs are not those of dvc.lock is left
            out.
    """
    from dvc.exceptions import DvcException

    with open_repo() as repo:
        for name in names:
            # Whether DVC runs it now, it was never recorded, or is no stage here.
            with suppress(DvcException, OSError):
                stage = repo.stage.load_one(name=name)
                if is_as_recorded(stage):
                    repo.stage_cache.save(stage)


def is_as_recorded(stage: "Stage") -> bool:
    """Return whether dvc.lock has all of a stage, and its outputs are those.

    Uses `stage.deps`, `stage.outs`, `item.hash_info` and `out.status`: see
    `save_to_run_cache`.
    """
    known = all(item.hash_info for item in [*stage.deps, *stage.outs])
    return known and not any(out.status() for out in stage.outs)


def drop_damaged_objects(name: str) -> None:
    """Remove damaged objects of a stage's outputs from DVC's cache.

    A file of the workspace and DVC's object of it are one file: a bit that flips in one
    has flipped in both. DVC never reads an object again, and would put the damaged one
    in the place of an equal file that a step has just made anew. `dvc commit` then adds
    good objects.

    Uses `repo.lock`, `stage.outs`, `out.use_cache`, `out.save` and what `list_objects`
    uses. Without them steps are not recorded with DVC.

    Raises:
        UnknownStateError: If DVC cannot say what is in its cache.
    """
    from dvc.exceptions import DvcException

    try:
        with open_repo() as repo, repo.lock:
            stage = repo.stage.load_one(name=name)
            for out in stage.outs:
                if out.use_cache:
                    out.save()
                    for item in list_objects(out):
                        drop_if_damaged(item)
    except DvcException as error:
        raise UnknownStateError(first_error(str(error))) from error


@dataclass(frozen=True)
class CachedObject:
    """A file or folder that a step has made, and DVC's object of it.

    Attributes:
        made: Path of the file or folder.
        cached: Path of the object; that of a folder is a list of its files.
        md5: MD5 that the object should have.
    """

    made: Path
    cached: Path
    md5: str


def list_objects(out: "Output") -> Iterator[CachedObject]:
    """Yield the objects of an output.

    Uses `out.cache.oid_to_path`, `out.fs_path`, `out.hash_info`, `out.is_dir_checksum`
    and `out.obj`: see `drop_damaged_objects`.
    """

    def object_of(path: Path, value: str) -> CachedObject:
        cached = Path(out.cache.oid_to_path(value))
        return CachedObject(path, cached, value.removesuffix(".dir"))

    folder = Path(out.fs_path)
    yield object_of(folder, out.hash_info.value)
    if out.is_dir_checksum:
        for key, _, info in out.obj:
            yield object_of(folder.joinpath(*key), info.value)


def drop_if_damaged(item: CachedObject) -> None:
    """Remove an object that is another file than the one just made, and other bytes."""
    if item.cached.exists() and not os.path.samefile(item.made, item.cached):
        with item.cached.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != item.md5:
            item.cached.unlink()


@contextmanager
def lock_paths(paths: list[str], to_write: bool) -> Iterator[None]:
    """Keep other DVC commands away from files and folders, as DVC itself does.

    Uses `dvc.rwlock.rwlock`, `dvc.lock.LockError` and `dvc.fs.localfs`. Without them
    `dvc repro` may delete what a running step reads or writes.

    Args:
        paths: Paths of the files and folders.
        to_write: Whether DVC may not even read them.

    Raises:
        UnknownStateError: If a DVC command works on them now.
    """
    from dvc.fs import localfs
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    LOCKS.mkdir(parents=True, exist_ok=True)
    absolute = [str(Path(path).absolute()) for path in paths]
    read, write = ([], absolute) if to_write else (absolute, [])
    lock: Any = rwlock(str(LOCKS.absolute()), localfs, "snakemake", read, write, False)
    try:
        lock.__enter__()
    except LockError as error:
        lines = map(str.strip, str(error).splitlines())
        blocker = next((line for line in lines if "(PID" in line), "")
        message = f"DVC is at work on {paths[0]}: {blocker}"
        raise UnknownStateError(message) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def first_error(messages: str) -> str:
    """Return the error in the messages of a DVC command, as one line.

    Uses the words `Unable to acquire lock` and `is busy, it is being blocked by:`.
    Without them the reason why a step is not recorded is less clear.
    """
    if "Unable to acquire lock" in messages:
        return "another DVC command is at work"
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if line.startswith("ERROR:")), 0)
    # "... is busy, it is being blocked by:" names the blocker on the next line.
    end = start + (2 if lines and lines[start].endswith(":") else 1)
    return " ".join(lines[start:end]).removeprefix("ERROR: ") or "it gave no reason"
