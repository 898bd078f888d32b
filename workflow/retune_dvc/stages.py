"""The stages of dvc.yaml: what each step reads and writes, and what follows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
from retune_dvc.dvc_files import read_entries

STAGES = Path("dvc.yaml")
# Holds every setting, with its default where params.yaml has none.
RESOLVED_PARAMS = "resolved/params.yaml"
# Files that list the user's files with their MD5, and the section that names those.
USER_FILES = {
    "resolved/dataset_files.txt": "dataset",
    "resolved/model_files.txt": "model",
    "resolved/configure_files.txt": "configure",
}


@dataclass(frozen=True)
class Stage:
    """One stage: what it reads, and what it writes.

    Attributes:
        params: Settings that it reads: sections of params.yaml, or single keys such as
            `hardware.accelerator`.
        deps: Paths of the files and folders that it reads and other stages write.
        outs: Paths of the files and folders that it writes.
        user_files: Sections that name files of the user's which it reads.
    """

    params: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    user_files: tuple[str, ...] = ()

    def reads(self, other: "Stage") -> bool:
        """Return whether an output of another stage is among this one's inputs."""
        return not set(self.deps).isdisjoint(other.outs)


def read_stages(path: Path = STAGES) -> dict[str, Stage]:
    """Return the stages by name, each after those it reads from.

    Raises:
        FileNotFoundError: If the file is not there.
        RetuneError: If it cannot be read, or stages wait for one another.
    """
    stages = {name: read_stage(entry) for name, entry in read_entries(path).items()}
    return {name: stages[name] for name in order_stages(stages, path)}


def order_stages(stages: dict[str, Stage], path: Path) -> list[str]:
    """Return the names of stages, each after those it reads from.

    Of stages that could come at the same time the first in the file comes first.
    """
    sorter = TopologicalSorter(
        {
            name: [other for other in stages if stage.reads(stages[other])]
            for name, stage in stages.items()
        }
    )
    try:
        sorter.prepare()
    except CycleError as error:
        circle = ", ".join(error.args[1])
        message = f"{path}: stages wait for one another: {circle}"
        raise RetuneError(message) from error
    places = list(stages)
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=places.index)
        ordered += ready
        sorter.done(*ready)
    return ordered


def read_stage(entry: dict[str, Any]) -> Stage:
    """Return one stage of dvc.yaml."""
    outs = (
        path for kind in ("outs", "metrics", "plots") for path in entry.get(kind) or []
    )
    deps = entry.get("deps") or []
    return Stage(
        params=tuple(
            name
            for files in entry.get("params") or []
            if isinstance(files, dict)
            for name in files.get(RESOLVED_PARAMS) or []
        ),
        deps=tuple(path for path in deps if path not in USER_FILES),
        outs=tuple(o if isinstance(o, str) else next(iter(o)) for o in outs),
        user_files=tuple(USER_FILES[path] for path in deps if path in USER_FILES),
    )


def with_what_follows(names: Iterable[str], stages: dict[str, Stage]) -> list[str]:
    """Return these stages and all that read from them, in the order of `stages`."""
    found = set(names)
    for name, stage in stages.items():
        if any(stage.reads(stages[earlier]) for earlier in found):
            found.add(name)
    return [name for name in stages if name in found]


def with_what_comes_before(names: Iterable[str], stages: dict[str, Stage]) -> list[str]:
    """Return these stages and all that they read from, in the order of `stages`."""
    found = set(names)
    for name, stage in reversed(stages.items()):
        if any(stages[later].reads(stage) for later in found):
            found.add(name)
    return [name for name in stages if name in found]


def section_of(setting: str) -> str:
    """Return the section of a setting, or a section itself."""
    return setting.partition(".")[0]
