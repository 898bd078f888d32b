"""What has changed of a step since Snakemake recorded how its outputs were made."""

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from retune.settings import Params
from retune_snakemake.jobs import JobProvenance
from retune_workflow.file_changes import FileChanges, compare_files
from retune_workflow.setting_changes import name_changes

# The param of rules that lists files of the user's.
FILES = "files"
# The param of rules that lists the modules of a step.
CODE = "code"
CODE_LINE = re.compile("[0-9a-f]{16}  ")


def reads_sections(job: JobProvenance, used: Params) -> bool:
    """Return whether many sections of params.yaml are one of a rule's params."""
    values = (read_value(repr(value)) for value in job.params.values())
    return any(
        isinstance(value, dict) and holds_sections(value, used) for value in values
    )


def holds_sections(value: dict[str, object], used: Params) -> bool:
    """Return whether a mapping is one of sections, and not of a section's settings."""
    return value.keys() <= type(used).model_fields.keys()


def changed_settings(job: JobProvenance, used: Params) -> Iterator[str]:
    """Yield the settings that are not those with which a job's outputs were made."""
    values = (read_value(text) for text in job.old_params)
    before = [value for value in values if not is_no_setting(value)]
    for name, now in params_now(job, used).items():
        alike = [value for value in before if type(value) is type(now)]
        if isinstance(now, dict):
            alike.sort(key=lambda value: num_shared_keys(value, now))
        if alike:
            before.remove(alike[-1])
            yield from name_changes(name, alike[-1], now)
        else:
            yield f"{name} changed"


def num_shared_keys(value: object, other: object) -> int:
    """Return how many keys two mappings have in common; 0 of anything else."""
    if isinstance(value, dict) and isinstance(other, dict):
        return len(value.keys() & other.keys())
    return 0


def changed_files(job: JobProvenance) -> FileChanges:
    """Return which files of the user's are not those that a job read before."""
    now = job.params.get(FILES)
    if not isinstance(now, str) or repr(now) not in job.new_params:
        return FileChanges()
    texts = (read_value(text) for text in job.old_params)
    before = next((text for text in texts if is_list_of_files(text)), "")
    return compare_files(str(before), now)


def changed_code(job: JobProvenance) -> Iterator[str]:
    """Yield the modules of a job that are not those with which it ran before."""
    now = job.params.get(CODE)
    if not isinstance(now, str) or repr(now) not in job.new_params:
        return
    texts = (read_value(text) for text in job.old_params)
    before = next((text for text in texts if is_list_of_code(text)), "")
    changes = compare_files(str(before), now)
    for path in sorted({*changes.changed, *changes.added, *changes.removed}):
        yield f"retune/{path}"


def is_no_setting(value: object) -> bool:
    """Return whether a param is a list of files, of the user's or of the library."""
    return is_list_of_files(value) or is_list_of_code(value)


def is_list_of_code(value: object) -> bool:
    """Return whether a param is a list of modules with a hash of each."""
    return isinstance(value, str) and CODE_LINE.match(value) is not None


def is_list_of_files(value: object) -> bool:
    """Return whether a param is a list of files with their MD5; it may be empty."""
    return isinstance(value, str) and (
        not value or value.removeprefix("\\")[32:34] == "  "
    )


def params_now(job: JobProvenance, used: Params) -> dict[str, object]:
    """Return the changed params of a rule, by their names in params.yaml."""
    found: dict[str, object] = {}
    for name, value in job.params.items():
        if repr(value) not in job.new_params or name in (FILES, CODE):
            continue
        now = read_value(repr(value))
        if isinstance(now, dict):
            found[section_called(now, used)] = now
        else:
            found[setting_called(name, used)] = now
    return found


def section_called(settings: dict[str, object], used: Params) -> str:
    """Return the section that these settings are of; nothing if they are sections.

    A rule may be given some settings of its section, and not all.
    """
    if holds_sections(settings, used):
        return ""
    for name in type(used).model_fields:
        if settings.items() <= getattr(used, name).decisive().items():
            return name
    return ""


def setting_called(key: str, used: Params) -> str:
    """Return a setting by its key alone; the key where params.yaml has no such one."""
    for name in type(used).model_fields:
        if key in type(getattr(used, name)).model_fields:
            return f"{name}.{key}"
    return key


def read_value(text: str) -> object:
    """Return a param that Snakemake recorded by its `repr`, read where it is JSON."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    try:
        parsed = json.loads(value)
    except (TypeError, ValueError):
        return value
    return parsed if isinstance(parsed, dict) else value


def changed_inputs(job: JobProvenance) -> Iterator[str]:
    """Yield the inputs that are not what they were, and that no other job makes anew.

    Snakemake records checksums of small files; of all others it compares times.
    """
    for path in job.inputs:
        if path in job.inputs_to_come:
            continue
        recorded = job.recorded_checksums.get(path)
        if recorded and os.path.isfile(path):
            if sha256_of(Path(path)) != recorded:
                yield path
        elif path in job.newer_inputs:
            yield path


def sha256_of(path: Path) -> str:
    """Return a file's checksum as Snakemake writes it."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
