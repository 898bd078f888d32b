"""Snakemake's own view of a job: why it would run, and with what it ran before.

All of it is private to Snakemake; a test runs Snakemake and compares what this finds.
"""

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retune.settings import Params
from retune_dvc.resolve import Resolved
from retune_workflow.dvc_lock import find_recorded_changes
from retune_workflow.file_changes import FileChanges, compare_files
from retune_workflow.planned_step import PlannedStep
from retune_workflow.setting_changes import describe_changes

# The param of rules that lists files of the user's.
FILES = "files"
# And the hash of a step's code.
CODE = "code"


def read_planned_step(
    job: Any, step: str, used: Params, resolved: Resolved
) -> PlannedStep:
    """Return what is known of why a job would run.

    Args:
        job: One of Snakemake's that would run.
        step: The step that it is.
        used: The settings of this run.
        resolved: What DVC's stages go by in this run.
    """
    dag = job.dag
    persistence = dag.workflow.persistence
    reason = dag.reason(job)
    outputs = [str(path) for path in job.output]
    missing = [path for path in outputs if not os.path.lexists(path)]
    follows = nearest([other for other in dag.dependencies[job] if dag.needrun(other)])
    is_known = persistence.has_metadata(job)
    recorded = None if is_known else find_recorded_changes(step, resolved)
    settings: list[str] = []
    inputs: list[str] = []
    files = FileChanges()
    otherwise = "nothing records how its outputs were made"
    if is_known:
        settings = list(changed_settings(job, used))
        inputs = list(changed_inputs(job))
        if has_other_code(job) and not any(map(is_module, inputs)):
            inputs.append("its code")
        files = changed_files(job)
        otherwise = ", ".join(reason.get_names())
    elif recorded:
        remade = made_anew(job)
        settings = list(recorded.settings)
        inputs = [path for path in recorded.inputs if path not in remade]
        files = recorded.files
    if follows and reads_all_settings(job, used):
        settings = []  # others have told what matters
    before = persistence.input(job.output[0]) if is_known else None
    now = [str(path) for path in job.input]
    return PlannedStep(
        name=job.rule.name,
        is_forced=is_asked_for(job),
        is_interrupted=bool(interrupted_outputs(job)),
        was_run=is_known or recorded is not None or any(map(os.path.exists, job.log)),
        missing=tuple(missing),
        has_outputs=len(missing) < len(outputs),
        settings=tuple(dict.fromkeys(settings)),
        inputs=(*map(short, inputs), *files.changed),
        added=(
            *(short(path) for path in now if before and path not in before),
            *files.added,
        ),
        removed=(
            *(short(path) for path in before or [] if path not in now),
            *files.removed,
        ),
        follows=tuple(follows),
        otherwise=otherwise,
    )


def nearest(jobs: list[Any]) -> list[str]:
    """Return the steps of these jobs that none of the others comes after."""
    before = {earlier for job in jobs for earlier in ancestors(job)}
    return sorted(job.rule.name for job in jobs if job not in before)


def ancestors(job: Any) -> set[Any]:
    """Return all jobs that a job needs."""
    direct = set(job.dag.dependencies[job])
    return direct.union(*(ancestors(other) for other in direct))


def made_anew(job: Any) -> set[str]:
    """Return the inputs of a job that other jobs would make before it."""
    dag = job.dag
    return {
        str(path)
        for other, paths in dag.dependencies[job].items()
        if dag.needrun(other)
        for path in paths
    }


def interrupted_outputs(job: Any) -> list[Any]:
    """Return the outputs that were being made when an earlier run was stopped."""
    workflow = job.dag.workflow
    return workflow.async_run(workflow.persistence.incomplete(job))


def is_asked_for(job: Any) -> bool:
    """Return whether the user forces a job; Snakemake forces interrupted ones, too."""
    dag = job.dag
    if job.rule in dag.forcerules and job not in dag.omitforce:
        return True
    forced = dag.forcefiles.intersection(job.output)
    return bool(forced.difference(interrupted_outputs(job)))


def reads_all_settings(job: Any, used: Params) -> bool:
    """Return whether all of params.yaml is among a rule's params."""
    values = (read_value(repr(value)) for value in job.params)
    return any(value == used.model_dump(mode="json") for value in values)


def changed_settings(job: Any, used: Params) -> Iterator[str]:
    """Yield the settings that are not those with which a job's outputs were made."""
    values = (read_value(text) for text in params_before(job))
    before = [value for value in values if not is_no_setting(value)]
    for name, now in params_now(job, used).items():
        alike = [value for value in before if type(value) is type(now)]
        if isinstance(now, dict):
            alike.sort(key=lambda value: len(value.keys() & now.keys()))
        if alike:
            before.remove(alike[-1])
            yield from describe_changes(name, alike[-1], now)
        else:
            yield f"{name} changed"


def changed_files(job: Any) -> FileChanges:
    """Return which files of the user's are not those that a job read before."""
    now = job.params.get(FILES)
    if now is None or repr(now) not in only_now(job):
        return FileChanges()
    texts = (read_value(text) for text in params_before(job))
    before = next((text for text in texts if is_list_of_files(text)), "")
    return compare_files(before, now)


def has_other_code(job: Any) -> bool:
    """Return whether the code of a job is not that with which it ran before."""
    return repr(job.params.get(CODE)) in only_now(job)


def is_no_setting(value: Any) -> bool:
    """Return whether a param is a list of files, or the hash of code."""
    return is_list_of_files(value) or (
        isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None
    )


def is_list_of_files(value: Any) -> bool:
    """Return whether a param is a list of files with their MD5; it may be empty."""
    return isinstance(value, str) and (
        not value or value.removeprefix("\\")[32:34] == "  "
    )


def params_before(job: Any) -> list[str]:
    """Return the values of a rule's params that were recorded, and are others now."""
    return sorted(job.dag.workflow.persistence.params_changed(job).only_old)


def only_now(job: Any) -> set[str]:
    """Return the values of a rule's params that were not recorded."""
    return job.dag.workflow.persistence.params_changed(job).only_new


def params_now(job: Any, used: Params) -> dict[str, Any]:
    """Return the changed params of a rule, by their names in params.yaml."""
    changed = only_now(job)
    sections = {
        getattr(used, name).model_dump_json(): name for name in type(used).model_fields
    }
    found = {}
    for name, value in job.params.items():
        if repr(value) not in changed or name in (FILES, CODE):
            continue
        now = read_value(repr(value))
        if isinstance(now, dict):
            found[sections.get(value, "")] = now
        else:
            found[setting_called(name, used)] = now
    return found


def setting_called(key: str, used: Params) -> str:
    """Return a setting by its key alone; the key where params.yaml has no such one."""
    for name in type(used).model_fields:
        if key in type(getattr(used, name)).model_fields:
            return f"{name}.{key}"
    return key


def read_value(text: str) -> Any:
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


def changed_inputs(job: Any) -> Iterator[str]:
    """Yield the inputs that are not what they were, and that no other job makes anew.

    Of small files Snakemake records checksums; of all else it compares times.
    """
    remade = made_anew(job)
    newer = {str(path) for path in job.dag.reason(job).updated_input}
    for path in map(str, job.input):
        if path in remade:
            continue
        recorded = recorded_checksum(job, path)
        if recorded and os.path.isfile(path):
            if sha256_of(Path(path)) != recorded:
                yield path
        elif path in newer:
            yield path


def recorded_checksum(job: Any, path: str) -> str | None:
    """Return the checksum of an input when a job last ran, if there is one."""
    found = job.dag.workflow.persistence.input_checksums(job, path)
    checksum = found.pop() if len(found) == 1 else None
    return checksum if checksum and checksum.startswith("sha256:") else None


def sha256_of(path: Path) -> str:
    """Return a file's checksum as Snakemake writes it."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def is_module(path: str) -> bool:
    """Return whether an input is a module of the library."""
    return "workflow/retune/" in path


def short(path: str) -> str:
    """Return a path as people call it: modules of the library without its folder."""
    return (
        f"retune/{path.rpartition('workflow/retune/')[2]}" if is_module(path) else path
    )
