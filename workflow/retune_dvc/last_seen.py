"""What was seen of each stage when it was last compared, kept in .snakemake."""

from dataclasses import asdict, dataclass
from pathlib import Path

from retune.artifacts.publishing import read_json, write_json
from retune_dvc.dvc_files import LockEntry
from retune_dvc.fingerprints import fingerprint, fingerprint_files
from retune_dvc.resolve import Resolved
from retune_dvc.stages import Stage

LAST_SEEN = Path(".snakemake/retune_dvc/last_seen.json")


@dataclass
class LastSeen:
    """One stage, as it was when it was last compared with DVC.

    Attributes:
        state: Fingerprint of its entry in dvc.lock, its settings, its code, the user's
            files that it reads and its outputs: equal means that nothing has changed.
        made: Fingerprint of the outputs that Snakemake's metadata speaks of.
        clean: Whether DVC said that all is as in dvc.lock.
    """

    state: str = ""
    made: str = ""
    clean: bool = False


def read_last_seen() -> dict[str, LastSeen]:
    """Return what was seen, by stage; nothing if it cannot be read."""
    try:
        return {name: LastSeen(**seen) for name, seen in read_json(LAST_SEEN).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_last_seen(seen_by_stage: dict[str, LastSeen]) -> None:
    """Keep what was seen, by stage."""
    write_json(LAST_SEEN, {name: asdict(seen) for name, seen in seen_by_stage.items()})


def state_of(
    name: str, stage: Stage, lock: dict[str, LockEntry], resolved: Resolved
) -> str:
    """Return the fingerprint of all that DVC compares of a stage."""
    return fingerprint(
        [
            lock.get(name),
            resolved.read_by(name, stage),
            fingerprint_files(stage.outs),
        ]
    )
