"""Whether dvc.lock records a step with the settings and code that this run goes by."""

import hashlib
import re
from typing import Any

from retune_dvc.dvc_files import LockEntry
from retune_dvc.resolve import RESOLVED_CODE, RESOLVED_FILES, Resolved, look_up
from retune_dvc.stages import RESOLVED_PARAMS, USER_FILES, Stage

SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def is_recorded_with(
    entry: LockEntry, step: str, stage: Stage, resolved: Resolved
) -> bool:
    """Return whether a step was recorded with these settings, code and user's files.

    Args:
        entry: The step's entry in dvc.lock.
        step: Name of the step.
        stage: The step's stage.
        resolved: What DVC's stages are to go by.
    """
    texts = resolved.texts()
    settings = {name: look_up(resolved.params, name) for name in stage.params}
    lists = {
        path: md5_of(texts[path].encode())
        for path, section in USER_FILES.items()
        if section in stage.user_files
    }
    return (
        as_numbers(entry.params.get(RESOLVED_PARAMS, {})) == as_numbers(settings)
        and entry.params.get(RESOLVED_CODE, {}) == {step: resolved.code[step]}
        and all(entry.deps.get(path) == md5 for path, md5 in lists.items())
    )


def is_changed_by_resolved_alone(changes: list[Any]) -> bool:
    """Return whether nothing has changed of a stage but files of `resolved/`.

    Args:
        changes: What `dvc status` finds changed of the stage.
    """
    return all(
        isinstance(change, dict)
        and all(
            kind == "changed deps" and set(files) <= set(RESOLVED_FILES)
            for kind, files in change.items()
        )
        for change in changes
    )


def as_numbers(value: object) -> object:
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


def md5_of(data: bytes) -> str:
    """Return the MD5 of bytes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
