"""The stages of dvc.yaml: what each step reads and writes, and what follows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retune.errors import RetuneError

STAGES = Path("dvc.yaml")
# Of what a stage reads, these hold the settings with their defaults, and the user's
# files that a section names.
RESOLVED_PARAMS = "resolved/params.yaml"
USER_FILES = {
    "resolved/dataset_files.txt": "dataset",
    "resolved/model_files.txt": "model",
}


@dataclass(frozen=True)
class Stage:
    """One stage: what it reads, and what it writes.

    Attributes:
        params: Settings: sections of params.yaml, or one key: `hardware.accelerator`.
        deps: Files and folders that other stages write.
        outs: Files and folders that it writes.
        user_files: The sections that name files of the user's which it reads.
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
        RetuneError: If it cannot be read.
    """
    stages = {name: read_stage(entry) for name, entry in read_entries(path).items()}
    ordered: dict[str, Stage] = {}
    while len(ordered) < len(stages):
        waiting = {name: s for name, s in stages.items() if name not in ordered}
        ready = {
            name: stage
            for name, stage in waiting.items()
            if not any(stage.reads(other) for other in waiting.values())
        }
        assert ready, f"{path}: stages wait for one another: {', '.join(waiting)}"
        ordered |= ready
    return ordered


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries under `stages` of one of DVC's files.

    Raises:
        FileNotFoundError: If the file is not there.
        RetuneError: If it cannot be read, as after a merge with conflicts.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (ValueError, yaml.YAMLError) as error:
        said = str(error).split("\n")[0]
        raise RetuneError(f"{path} cannot be read: {said}") from error
    stages = values.get("stages") or {} if isinstance(values, dict) else None
    if not (
        isinstance(stages, dict)
        and all(isinstance(entry, dict) for entry in stages.values())
    ):
        raise RetuneError(f"{path} cannot be read: it does not map stages")
    return stages


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
