"""Reads dvc.yaml and dvc.lock, DVC's documented files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retune.errors import RetuneError
from retune_dvc.errors import UnknownStateError
from retune_dvc.fingerprints import fingerprint

LOCK = Path("dvc.lock")
# The same loader in C, which is ten times faster, where PyYAML was built with it.
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class LockEntry:
    """What dvc.lock records of one stage.

    Attributes:
        params: Recorded values by file and by the name of the setting in it.
        deps: MD5 of each input by its path; None where DVC wrote none.
        outs: MD5 of each output by its path; None where DVC wrote none.
        content: Fingerprint of the whole entry.
    """

    params: dict[str, dict[str, object]]
    deps: dict[str, str | None]
    outs: dict[str, str | None]
    content: str


def read_lock() -> dict[str, LockEntry]:
    """Return the entries of dvc.lock by stage.

    Raises:
        UnknownStateError: If it cannot be read.
    """
    if not LOCK.exists():
        return {}
    try:
        entries = read_entries(LOCK)
    except RetuneError as error:
        raise UnknownStateError(str(error)) from error
    try:
        return {name: read_lock_entry(entry) for name, entry in entries.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise UnknownStateError(f"{LOCK} cannot be read: {error!r}") from error


def read_lock_entry(entry: dict[str, Any]) -> LockEntry:
    """Return one entry of dvc.lock."""
    return LockEntry(
        params=entry.get("params") or {},
        deps={dep["path"]: dep.get("md5") for dep in entry.get("deps") or []},
        outs={out["path"]: out.get("md5") for out in entry.get("outs") or []},
        content=fingerprint(entry),
    )


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries under `stages` of one of DVC's files, as YAML has them.

    Raises:
        FileNotFoundError: If the file is not there.
        RetuneError: If it cannot be read, as after a merge with conflicts.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), SAFE_LOADER) or {}
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
