"""What has changed since DVC recorded a step whose result Snakemake did not make."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retune_dvc.dvc_files import LockEntry, read_lock
from retune_dvc.errors import UnknownStateError
from retune_dvc.recorded_inputs import as_numbers, md5_of
from retune_dvc.resolve import RESOLVED_CODE, Resolved, look_up, read_resolved
from retune_dvc.stages import RESOLVED_PARAMS, USER_FILES
from retune_workflow.file_changes import FileChanges, compare_files
from retune_workflow.setting_changes import name_changes

# A larger file is not read for a dry run.
LARGEST_READ = 10**6


@dataclass(frozen=True)
class RecordedChanges:
    """What differs from an entry of dvc.lock.

    Attributes:
        settings: Settings that changed, as `finetune.epochs: 1 -> 2`.
        inputs: Paths of the inputs that changed.
        files: Files of the user's that changed.
    """

    settings: tuple[str, ...]
    inputs: tuple[str, ...]
    files: FileChanges = FileChanges()


def find_recorded_changes(step: str, resolved: Resolved) -> RecordedChanges | None:
    """Return what changed since a step was recorded, None if it never was.

    Args:
        step: Name of the step.
        resolved: What DVC's stages go by in this run.
    """
    try:
        lock = read_lock()
    except UnknownStateError:
        return None
    if (entry := lock.get(step)) is None:
        return None
    inputs = [*changed_code(step, entry, resolved), *changed_inputs(entry, lock)]
    return RecordedChanges(
        tuple(changed_settings(entry, resolved)),
        tuple(inputs),
        changed_files(entry, resolved),
    )


def changed_settings(entry: LockEntry, resolved: Resolved) -> Iterator[str]:
    """Yield the settings that are not as recorded."""
    recorded = entry.params.get(RESOLVED_PARAMS, {})
    for name, before in recorded.items():
        before = as_numbers(before)
        now = as_numbers(look_up(resolved.params, name))
        if before != now:
            yield from name_changes(name, before, now)


def changed_code(step: str, entry: LockEntry, resolved: Resolved) -> Iterator[str]:
    """Yield `its code` if that is not as recorded."""
    recorded = entry.params.get(RESOLVED_CODE, {})
    if step in recorded and recorded[step] != resolved.code[step]:
        yield "its code"


def changed_files(entry: LockEntry, resolved: Resolved) -> FileChanges:
    """Return which files of the user's are not as recorded."""
    written, texts = read_resolved(), resolved.texts()
    for path, recorded in entry.deps.items():
        if path in USER_FILES and md5_of(texts[path].encode()) != recorded:
            section = USER_FILES[path]
            files = compare_files(written.files[section], resolved.files[section])
            # If the list was written since then, the one of that time is gone.
            return files if files != FileChanges() else FileChanges(("files of yours",))
    return FileChanges()


def changed_inputs(entry: LockEntry, lock: dict[str, LockEntry]) -> Iterator[str]:
    """Yield the inputs that are not as recorded.

    What another step makes is compared with what is recorded there.
    """
    made = {path: md5 for other in lock.values() for path, md5 in other.outs.items()}
    for path, recorded in entry.deps.items():
        if path in USER_FILES:
            continue
        now = made.get(path) or md5_of_file(Path(path))
        if now and now != recorded:
            yield path


def md5_of_file(path: Path) -> str:
    """Return the MD5 of a small file; nothing for anything else."""
    if not path.is_file() or path.stat().st_size > LARGEST_READ:
        return ""
    return md5_of(path.read_bytes())
