"""What is known of a step that would run, from Snakemake and from DVC."""

import os
from dataclasses import dataclass

from retune.settings import Params
from retune_dvc.resolve import Resolved
from retune_snakemake.jobs import JobProvenance, SnakemakeJob
from retune_workflow.dvc_lock import find_recorded_changes
from retune_workflow.file_changes import FileChanges
from retune_workflow.recorded_params import (
    changed_code,
    changed_files,
    changed_inputs,
    changed_settings,
    reads_sections,
)

NOT_RECORDED = "nothing records how its outputs were made"


@dataclass(frozen=True)
class PlannedStep:
    """A step that would run, and all that is known of why.

    Attributes:
        name: Name of its rule.
        is_forced: Whether the user asks for it, whatever is there.
        is_interrupted: Whether a run was stopped while it made its outputs.
        was_run: Whether anything says that it ran before.
        missing: Its outputs that are not there.
        has_outputs: Whether any other of its outputs is there.
        settings: Settings that changed, as `finetune.epochs: 1 -> 2`.
        inputs: Its inputs that changed, code and data; no other step makes them anew.
        added: Inputs that it did not have before.
        removed: Inputs that it has no longer.
        follows: The steps that would run before it and make its inputs anew.
        otherwise: Snakemake's own words, for what is not known here.
    """

    name: str
    is_forced: bool = False
    is_interrupted: bool = False
    was_run: bool = True
    missing: tuple[str, ...] = ()
    has_outputs: bool = True
    settings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    otherwise: str = ""


@dataclass(frozen=True)
class Changes:
    """What has changed of a step since its outputs were made.

    Attributes:
        was_recorded: Whether Snakemake or DVC knows how they were made.
        settings: Settings that changed, as `finetune.epochs: 1 -> 2`.
        inputs: Inputs that changed and that no other step makes anew.
        files: Files of the user's that changed.
        otherwise: Why the step would run if all of this is empty.
    """

    was_recorded: bool
    settings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    files: FileChanges = FileChanges()
    otherwise: str = NOT_RECORDED


def plan_step(
    job: SnakemakeJob,
    provenance: JobProvenance,
    step: str,
    used: Params,
    resolved: Resolved,
) -> PlannedStep:
    """Return what is known of why a job would run.

    Args:
        job: Job of Snakemake's that would run.
        provenance: What Snakemake knows of it.
        step: Name of the step that it is.
        used: Settings of this run.
        resolved: What DVC's stages go by in this run.
    """
    changes = find_changes(provenance, step, used, resolved)
    follows, settings = provenance.follows, changes.settings
    if follows and reads_sections(provenance, used):
        settings = ()  # the steps before it name those that matter
    missing = [path for path in job.outputs if not os.path.lexists(path)]
    before, now = provenance.recorded_inputs or (), provenance.inputs
    return PlannedStep(
        name=job.rule,
        is_forced=provenance.is_forced,
        is_interrupted=provenance.is_interrupted,
        was_run=changes.was_recorded or any(map(os.path.exists, job.logs)),
        missing=tuple(missing),
        has_outputs=len(missing) < len(job.outputs),
        settings=tuple(dict.fromkeys(settings)),
        inputs=(*changes.inputs, *changes.files.changed),
        added=(
            *(path for path in now if before and path not in before),
            *changes.files.added,
        ),
        removed=(
            *(path for path in before if path not in now),
            *changes.files.removed,
        ),
        follows=follows,
        otherwise=changes.otherwise,
    )


def find_changes(
    provenance: JobProvenance, step: str, used: Params, resolved: Resolved
) -> Changes:
    """Return what changed since Snakemake made a step's outputs, or DVC recorded them.

    Args:
        provenance: What Snakemake knows of the step's job.
        step: Name of the step.
        used: Settings of this run.
        resolved: What DVC's stages go by in this run.
    """
    if provenance.has_metadata:
        return Changes(
            was_recorded=True,
            settings=tuple(changed_settings(provenance, used)),
            inputs=(*changed_inputs(provenance), *changed_code(provenance)),
            files=changed_files(provenance),
            otherwise=provenance.reasons,
        )
    recorded = find_recorded_changes(step, resolved)
    if recorded is None:
        return Changes(was_recorded=False)
    to_come = provenance.inputs_to_come
    inputs = tuple(path for path in recorded.inputs if path not in to_come)
    return Changes(True, recorded.settings, inputs, recorded.files)
