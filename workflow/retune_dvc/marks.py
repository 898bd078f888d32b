"""Marks outputs for Snakemake as up to date, or as stale."""

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from retune.stages import Stage
from retune_dvc.commands import DoubtError, call_snakemake
from retune_dvc.fingerprints import TIMESTAMP, stat_tree
from retune_dvc.workflow import Workflow

STALE_NS = 10**9


def mark_up_to_date(
    names: list[str], timed: list[str], stages: dict[str, Stage], workflow: Workflow
) -> None:
    """Let Snakemake believe that it made these steps' outputs as they are.

    Args:
        names: The steps to mark.
        timed: The steps to get new times, these included, in the order of the run.
        stages: From dvc.yaml.
        workflow: Whose rules write the outputs.
    """
    outputs = {name: workflow.timed_files(name) for name in timed}
    # Before --touch, which sets the times of files to now.
    made = {name: time_made(paths) for name, paths in outputs.items()}
    # --touch writes Snakemake's metadata: settings, set of inputs, their checksums.
    rules = workflow.rules_of(names)
    call_snakemake(
        workflow.snakefile,
        *["--touch", "--forceall", "--cores", "1"],
        *["--allowed-rules", *rules, "--", *rules],
    )
    set_times(made, stages, outputs)


def set_times(
    made: dict[str, int], stages: dict[str, Stage], outputs: dict[str, list[str]]
) -> None:
    """Make outputs as old as they are, but no older than what they were made of.

    Args:
        made: When the outputs of each step were made, in ns, in the order of the run.
        stages: From dvc.yaml.
        outputs: What each step writes, by whose time Snakemake goes.
    """
    for name, made_ns in made.items():
        # Of code Snakemake compares checksums, of all else only times.
        time = max([made_ns, *map(get_time, stages[name].deps)])
        for path in filter(os.path.exists, outputs[name]):
            set_time(path, time)


def mark_stale(names: list[str], workflow: Workflow) -> None:
    """Make Snakemake forget how it made these steps' outputs."""
    paths = [path for name in names for path in workflow.timed_files(name)]
    # It fails where there was nothing to forget, after it has forgotten the rest.
    with suppress(DoubtError):
        call_snakemake(workflow.snakefile, "--cleanup-metadata", *paths)
    for path in filter(os.path.exists, paths):
        set_time(path, STALE_NS)


@contextmanager
def kept_times(paths: list[str]) -> Iterator[None]:
    """Keep the times that Snakemake goes by.

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
            stage = os.path.join(folder, f".{name}.{os.getpid()}")
            shutil.copy2(path, stage)
            os.chmod(stage, 0o644)
            os.replace(stage, path)


def time_made(paths: list[str]) -> int:
    """Return when a step's outputs were made, in ns: the newest file among them."""
    there = list(filter(os.path.exists, paths))
    files = [path for path in there if os.path.isfile(path)]
    for folder in filter(os.path.isdir, there):
        files += [path for path, *_ in stat_tree(folder)]
    return max(map(get_time, files), default=0)


def get_time(path: str) -> int:
    """Return the time that Snakemake sees, in ns; 0 if there is nothing."""
    mark = os.path.join(path, TIMESTAMP)
    try:
        return os.stat(mark if os.path.exists(mark) else path).st_mtime_ns
    except FileNotFoundError:
        return 0


def set_time(path: str, time: int) -> None:
    """Set the time that Snakemake sees, in ns."""
    if os.path.isdir(path):
        mark = os.path.join(path, TIMESTAMP)
        open(mark, "a").close()
        os.utime(mark, ns=(time, time))
    os.utime(path, ns=(time, time))
