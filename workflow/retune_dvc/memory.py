"""What was seen of each stage when this package last looked, kept in .snakemake."""

from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from retune.publishing import read_json, write_json
from retune.settings import Params
from retune.stages import Stage
from retune_dvc.commands import DoubtError
from retune_dvc.fingerprints import fingerprint, fingerprint_files

LOCK = Path("dvc.lock")
SETTINGS = Path("params.yaml")
MEMORY = Path(".snakemake/retune_dvc/memory.json")


@dataclass
class Memory:
    """One stage, as last seen.

    Attributes:
        state: Fingerprint of its entry in dvc.lock, its settings as written, its
            sources and its outputs: equal means that nothing moved.
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


def written_value(name: str, settings: dict[str, Any]) -> Any:
    """Return a section, or one key of it, as it is written; None: it is not."""
    section, _, key = name.partition(".")
    value = settings.get(section)
    if not key:
        return value
    return value.get(key) if isinstance(value, dict) else None


def value_of(name: str, settings: Params) -> Any:
    """Return the value of a section, or of one key of it."""
    return reduce(getattr, name.split("."), settings)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a YAML file maps.

    Raises:
        DoubtError: If it cannot be read.
    """
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DoubtError(f"{path} cannot be read: {error}".split("\n")[0]) from error


def state_of(
    name: str, stages: dict[str, Stage], lock: dict[str, Any], settings: dict[str, Any]
) -> str:
    """Return the fingerprint of all that DVC compares of a stage."""
    stage = stages[name]
    made = {path for other in stages.values() for path in other.outs}
    sources = [path for path in stage.deps if path not in made]
    return fingerprint(
        [
            lock.get(name),
            {name: written_value(name, settings) for name in stage.params},
            fingerprint_files([*sources, *stage.outs]),
        ]
    )
