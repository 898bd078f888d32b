"""What has changed since DVC recorded a step whose result Snakemake did not make."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.stages import RESOLVED_PARAMS, USER_FILES
from retune_dvc.commands import DoubtError
from retune_dvc.memory import read_lock
from retune_dvc.resolve import RESOLVED_CODE, Resolved, look_up, read_resolved
from retune_workflow.file_changes import FileChanges, compare_files
from retune_workflow.setting_changes import describe_changes

# A larger file is not read for a dry run.
LARGEST_READ = 10**6
SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


@dataclass(frozen=True)
class RecordedChanges:
    """What differs from an entry of dvc.lock.

    Attributes:
        settings: As `finetune.epochs: 1 -> 2`.
        inputs: Paths.
        files: Files of the user's.
    """

    settings: tuple[str, ...]
    inputs: tuple[str, ...]
    files: FileChanges = FileChanges()


def find_recorded_changes(step: str, resolved: Resolved) -> RecordedChanges | None:
    """Return what changed since a step was recorded, None if it never was.

    Args:
        step: Its name.
        resolved: What this run goes by.
    """
    try:
        lock = read_lock()
    except DoubtError:
        return None
    if (entry := lock.get(step)) is None:
        return None
    inputs = [*changed_code(step, entry, resolved), *changed_inputs(entry, lock)]
    return RecordedChanges(
        tuple(changed_settings(entry, resolved)),
        tuple(inputs),
        changed_files(entry, resolved),
    )


def changed_settings(entry: dict[str, Any], resolved: Resolved) -> Iterator[str]:
    """Yield the settings that are not as recorded."""
    recorded = entry.get("params", {}).get(RESOLVED_PARAMS, {})
    for name, before in recorded.items():
        before = as_numbers(before)
        now = as_numbers(look_up(resolved.params, name))
        if before != now:
            yield from describe_changes(name, before, now)


def as_numbers(value: Any) -> Any:
    """Return a value in which a text such as `1e-08` is the number that it means.

    So DVC writes it, by YAML 1.2; the reader of YAML 1.1 takes it for a text.
    """
    if isinstance(value, dict):
        return {key: as_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_numbers(item) for item in value]
    if isinstance(value, str) and SCIENTIFIC.fullmatch(value):
        return float(value)
    return value


def changed_code(step: str, entry: dict[str, Any], resolved: Resolved) -> Iterator[str]:
    """Yield `its code` if that is not as recorded."""
    recorded = entry.get("params", {}).get(RESOLVED_CODE, {})
    if step in recorded and recorded[step] != resolved.code[step]:
        yield "its code"


def changed_files(entry: dict[str, Any], resolved: Resolved) -> FileChanges:
    """Return which files of the user's are not as recorded."""
    written, texts = read_resolved(), resolved.texts()
    for dep in entry.get("deps", []):
        path = dep["path"]
        if path in USER_FILES and md5_of(texts[path].encode()) != dep.get("md5"):
            section = USER_FILES[path]
            files = compare_files(written.files[section], resolved.files[section])
            # Written since then, the list of that time is gone.
            return files if files != FileChanges() else FileChanges(("files of yours",))
    return FileChanges()


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
        if dep["path"] in USER_FILES:
            continue
        now = made.get(dep["path"]) or md5_of_file(Path(dep["path"]))
        if now and now != dep.get("md5"):
            yield dep["path"]


def md5_of_file(path: Path) -> str:
    """Return the MD5 of a small file; nothing for anything else."""
    if not path.is_file() or path.stat().st_size > LARGEST_READ:
        return ""
    return md5_of(path.read_bytes())


def md5_of(data: bytes) -> str:
    """Return the MD5 of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
