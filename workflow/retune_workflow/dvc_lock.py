"""What has changed since DVC recorded a step whose result Snakemake did not make."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retune.settings import Params, Settings
from retune_dvc.commands import DoubtError
from retune_dvc.memory import read_lock, value_of
from retune_workflow.setting_changes import describe_changes

# A larger file is not read for a dry run.
LARGEST_READ = 10**6


@dataclass(frozen=True)
class RecordedChanges:
    """What differs from an entry of dvc.lock.

    Attributes:
        settings: As `finetune.epochs: 1 -> 2`.
        inputs: Paths.
    """

    settings: tuple[str, ...]
    inputs: tuple[str, ...]


def find_recorded_changes(step: str, used: Params) -> RecordedChanges | None:
    """Return what changed since a step was recorded, None if it never was.

    Args:
        step: Its name.
        used: The settings of this run.
    """
    try:
        lock = read_lock()
    except DoubtError:
        return None
    if (entry := lock.get(step)) is None:
        return None
    return RecordedChanges(
        tuple(changed_settings(entry, used)), tuple(changed_inputs(entry, lock))
    )


def changed_settings(entry: dict[str, Any], used: Params) -> Iterator[str]:
    """Yield the settings that are not as recorded, whatever they were written like."""
    for recorded in entry.get("params", {}).values():
        for name, written in recorded.items():
            try:
                now = value_of(name, used)
            except AttributeError:  # of another release
                continue
            if isinstance(now, Settings):
                yield from describe_changes(
                    name, read_section(type(now), written), now.model_dump(mode="json")
                )
            elif written != now:
                yield from describe_changes(name, written, now)


def read_section(model: type[Settings], written: Any) -> Any:
    """Return a section with its defaults; as written where it is not right today."""
    try:
        return model.model_validate(written or {}).model_dump(mode="json")
    except ValidationError:
        return written


def changed_inputs(entry: dict[str, Any], lock: dict[str, Any]) -> Iterator[str]:
    """Yield the inputs that are not as recorded.

    What another step makes is compared with what is recorded there.
    """
    made = {
        out["path"]: out.get("md5")
        for other in lock.values()
        for out in other.get("outs", [])
    }
    for dep in entry.get("deps", []):
        path = Path(dep["path"])
        now = made.get(dep["path"]) or md5_of(path)
        if now and now != dep.get("md5"):
            yield dep["path"]


def md5_of(path: Path) -> str:
    """Return the MD5 of a small file; nothing for anything else."""
    if not path.is_file() or path.stat().st_size > LARGEST_READ:
        return ""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
