"""What was seen of each stage when this package last looked, kept in .snakemake."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from retune.publishing import read_json, write_json
from retune.stages import Stage
from retune_dvc.commands import DoubtError
from retune_dvc.fingerprints import fingerprint, fingerprint_files
from retune_dvc.resolve import Resolved

LOCK = Path("dvc.lock")
SETTINGS = Path("params.yaml")
MEMORY = Path(".snakemake/retune_dvc/memory.json")


@dataclass
class Memory:
    """One stage, as last seen.

    Attributes:
        state: Fingerprint of its entry in dvc.lock, its settings, its code, the user's
            files that it reads and its outputs: equal means that nothing moved.
        made: Fingerprint of the outputs that Snakemake's metadata speaks of.
        clean: Whether DVC said that all is as in dvc.lock.
    """

    state: str = ""
    made: str = ""
    clean: bool = False


def recall() -> dict[str, Memory]:
    """Return what is remembered by stage; nothing if it cannot be read."""
    try:
        return {name: Memory(**seen) for name, seen in read_json(MEMORY).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def remember(memories: dict[str, Memory]) -> None:
    """Keep what was seen."""
    write_json(MEMORY, {name: asdict(seen) for name, seen in memories.items()})


def read_lock() -> dict[str, Any]:
    """Return the entries of dvc.lock by stage."""
    return read_yaml(LOCK).get("stages", {}) if LOCK.exists() else {}


def read_settings() -> dict[str, Any]:
    """Return params.yaml as it is written."""
    return read_yaml(SETTINGS)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a YAML file maps.

    Raises:
        DoubtError: If it cannot be read.
    """
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DoubtError(f"{path} cannot be read: {error}".split("\n")[0]) from error


def state_of(name: str, stage: Stage, lock: dict[str, Any], resolved: Resolved) -> str:
    """Return the fingerprint of all that DVC compares of a stage."""
    return fingerprint(
        [
            lock.get(name),
            resolved.read_by(name, stage),
            fingerprint_files(stage.outs),
        ]
    )
