"""What was seen of each stage when this package last looked, kept in .snakemake."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
from retune.params_file import read_params_file
from retune.publishing import read_json, write_json
from retune.stages import Stage, read_entries
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
    """Return the entries of dvc.lock by stage.

    Raises:
        DoubtError: If it cannot be read.
    """
    if not LOCK.exists():
        return {}
    try:
        return read_entries(LOCK)
    except RetuneError as error:
        raise DoubtError(str(error)) from error


def read_settings() -> dict[str, Any]:
    """Return params.yaml as it is written.

    Raises:
        RetuneError: If it cannot be read.
    """
    try:
        return read_params_file(SETTINGS)
    except FileNotFoundError:
        raise RetuneError(f"there is no {SETTINGS} here") from None


def state_of(name: str, stage: Stage, lock: dict[str, Any], resolved: Resolved) -> str:
    """Return the fingerprint of all that DVC compares of a stage."""
    return fingerprint(
        [
            lock.get(name),
            resolved.read_by(name, stage),
            fingerprint_files(stage.outs),
        ]
    )
