"""When a run begins: lets Snakemake know what DVC knows, and the other way round."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retune.publishing import MANIFEST
from retune.settings import Params
from retune.stages import (
    STAGES,
    Stage,
    read_stages,
    with_what_comes_before,
    with_what_follows,
)
from retune.training.checkpoint_files import find_damage
from retune_dvc.commands import DoubtError, call_dvc, call_snakemake
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.marks import mark_stale, mark_up_to_date
from retune_dvc.memory import Memory, read_lock, recall, remember, state_of
from retune_dvc.recordable import check_recordable
from retune_dvc.resolve import (
    Resolved,
    is_recorded,
    read_resolved,
    record_resolved,
    resolve,
)
from retune_dvc.run_cache import restore, save_results
from retune_dvc.workflow import Workflow
from retune_start.command_line import parse_command_line

# Snakemake's options with which it runs no step.
ONLY_LOOKING = (
    *("archive", "cleanup_metadata", "cleanup_shadow", "conda_cleanup_envs"),
    *("conda_create_envs_only", "container_cleanup_images", "containerize", "d3dag"),
    *("dag", "delete_all_output", "delete_temp_output", "detailed_summary", "dryrun"),
    *("filegraph", "generate_unit_tests", "lint", "list_changes", "list_conda_envs"),
    *("list_input_changes", "list_params_changes", "list_rules", "list_target_rules"),
    *("list_untracked", "print_compilation", "report", "reporter", "rulegraph"),
    *("summary", "touch", "unlock"),
)


@dataclass
class Look:
    """What was found when a run began; the `Recorder` goes on with it.

    Attributes:
        stages: From dvc.yaml, in the order of the run.
        resolved: What the stages of DVC go by in this run.
        workflow: The steps as rules.
        memories: Each stage as it is now.
        problem: Why this run is not recorded with DVC, None if it is.
        doubt: Why it could not be compared with DVC, None if it was.
        messages: What the user should know.
    """

    stages: dict[str, Stage]
    resolved: Resolved
    workflow: Workflow
    memories: dict[str, Memory]
    problem: str | None = None
    doubt: str | None = None
    messages: list[str] = field(default_factory=list)


def reconcile(
    used: Params, user_files: dict[str, list[str]], workflow: Workflow
) -> Look:
    """Mark outputs up to date or stale as DVC sees them; bring back what it has.

    Args:
        used: The settings of this run.
        user_files: The user's files that `dataset` and `model` name.
        workflow: The steps as rules.

    Raises:
        RetuneError: If dvc.yaml cannot be read, or `resolved/` not be written.
    """
    stages = stages_of(workflow)
    recalled = recall()
    memories = {name: recalled.get(name, Memory()) for name in stages}
    look = Look(stages, resolve(used, user_files), workflow, memories)
    try:
        check_recordable(used, stages, workflow)
    except DoubtError as doubt:
        look.problem = str(doubt)
        return look
    try:
        compare(look)
    except DoubtError as doubt:
        look.doubt = str(doubt)
        look.messages.append(f"not compared with DVC: {doubt}")
    return look


def stages_of(workflow: Workflow) -> dict[str, Stage]:
    """Return the stages of these steps; the user may have some of their own.

    Without a dvc.yaml here they are those of the one that comes with the rules.
    """
    found = read_stages(STAGES if STAGES.exists() else workflow.stages)
    return {name: s for name, s in found.items() if name in workflow.outputs}


def compare(look: Look) -> None:
    """Ask DVC if anything has moved, and act on what it says."""
    stages, memories = look.stages, look.memories
    lock = read_lock()
    states = {n: state_of(n, s, lock, look.resolved) for n, s in stages.items()}
    moved = {name for name in stages if states[name] != memories[name].state}
    resolved = [name for name in stages if is_resolved(name, look)]
    is_known = not moved and all(memory.clean for memory in memories.values())
    if is_known and len(resolved) == len(stages) and is_recorded(look.resolved):
        return
    # The workflow does not know its options yet.
    if (options := parse_command_line(sys.argv[1:])) is None:
        raise DoubtError("Snakemake's options could not be read")
    runs_steps = not any(getattr(options, name, None) for name in ONLY_LOOKING)
    if runs_steps:
        record_resolved(look.resolved)
        resolved = list(stages)
    if not lock and not any(memory.made for memory in memories.values()):
        return  # a first run: nobody knows anything yet
    if not moved and not runs_steps:
        return

    status = read_status(stages)
    clean = [n for n in stages if n in lock and n in resolved and n not in status]
    changed_by_others = [
        name
        for name in stages
        if name in lock
        and name not in clean
        and any(map(os.path.exists, look.workflow.outputs[name]))
        and fingerprint_files(stages[name].outs) != memories[name].made
    ]
    save_results([name for name in clean if name in moved])
    if changed_by_others:
        forget(changed_by_others, look)
    # What was marked stale Snakemake does not know; nothing of its own need have moved.
    unknown = [
        n for n in clean if fingerprint_files(stages[n].outs) != memories[n].made
    ]
    adopt([name for name in clean if name in {*moved, *unknown}], clean, look)
    keep(look, clean)
    if not runs_steps or len(clean) == len(stages):
        return

    left_over = find_left_over(look, status, lock)
    if left_over:
        record(left_over, look, "recorded with DVC, from an earlier run")
    forced = options.forceall or options.force or options.forcerun
    # What follows from a stale step is stale, too, though DVC cannot know it yet.
    stale = with_what_follows(
        [name for name in stages if name not in [*clean, *left_over]], stages
    )
    wanted = wanted_steps(options.targets, look)
    cached = {} if forced else restore([n for n in stale if n in wanted], stages)
    if restored := [
        name for name, was_brought_back in cached.items() if was_brought_back
    ]:
        record(restored, look, "brought back from DVC's cache instead of run")
    if settled := [name for name in stages if name in [*left_over, *cached]]:
        up_to_date = [n for n in stages if n not in stale or n in cached]
        adopt(settled, up_to_date, look)
        keep(look, up_to_date, to_ask=[n for n in stages if n not in up_to_date])


def adopt(names: list[str], up_to_date: list[str], look: Look) -> None:
    """Let Snakemake take these steps' outputs for its own, as they are."""
    if not names:
        return
    stages = look.stages
    # They get new times, and so must those that were made of them.
    timed = [name for name in with_what_follows(names, stages) if name in up_to_date]
    mark_up_to_date(names, timed, stages, look.workflow)
    for name in timed:
        look.memories[name].made = fingerprint_files(stages[name].outs)
    # Times no longer tell the other readers that their inputs are not what they were.
    readers = [
        name
        for name, stage in stages.items()
        if name not in up_to_date and any(stage.reads(stages[n]) for n in timed)
    ]
    if readers:
        forget(readers, look)


def forget(names: list[str], look: Look) -> None:
    """Make Snakemake forget how it made these steps' outputs."""
    mark_stale(names, look.workflow)
    for name in names:
        look.memories[name].made = ""


def keep(look: Look, clean: list[str], to_ask: Iterable[str] = ()) -> None:
    """Remember what was seen.

    Args:
        look: What was seen.
        clean: The steps that are as in dvc.lock.
        to_ask: The steps of which the next look is to ask DVC, whatever it sees.
    """
    lock = read_lock()
    for name, memory in look.memories.items():
        state = state_of(name, look.stages[name], lock, look.resolved)
        memory.state = "" if name in to_ask else state
        memory.clean = name in clean
    remember(look.memories)


def record(names: list[str], look: Look, why: str) -> None:
    """Write steps as they are to dvc.lock, and say why."""
    call_dvc("commit", "--force", *names)
    look.messages.append(f"{why}: {', '.join(names)}")


def is_resolved(name: str, look: Look) -> bool:
    """Return whether `resolved/` says of a stage what this run goes by."""
    stage = look.stages[name]
    return read_resolved().read_by(name, stage) == look.resolved.read_by(name, stage)


def find_left_over(
    look: Look, status: dict[str, list[Any]], lock: dict[str, Any]
) -> list[str]:
    """Return what Snakemake made in an earlier run and still finds up to date."""
    candidates = [
        name
        for name, changes in status.items()
        if (name not in lock or any("changed outs" in change for change in changes))
        and look.memories[name].made
        and fingerprint_files(look.stages[name].outs) == look.memories[name].made
        and is_as_written(look.stages[name].outs)
    ]
    planned = planned_steps(look) if candidates else set()
    return [name for name in candidates if name not in planned]


def is_as_written(outs: Iterable[str]) -> bool:
    """Return whether all folders that have a manifest are, to the byte, what it says.

    A bit that has flipped changes no time and no size; dvc.lock must not call it right.
    """
    folders = [Path(out) for out in outs if (Path(out) / MANIFEST).exists()]
    return not any(map(find_damage, folders))


def read_status(stages: Iterable[str]) -> dict[str, list[Any]]:
    """Return what DVC finds changed of these stages; one as in dvc.lock is not in it.

    DVC tells of all stages of the repository, which may have others.
    """
    status = json.loads(call_dvc("status", "--json") or "{}")
    return {name: status[name] for name in stages if name in status}


def wanted_steps(targets: list[str], look: Look) -> list[str]:
    """Return the steps behind these targets, rules or files."""
    rules, outputs = look.workflow.rules, look.workflow.outputs
    makers = {
        target: name for name in look.stages for target in [rules[name], *outputs[name]]
    }
    if not targets or any(target not in makers for target in targets):
        return list(look.stages)  # train, all
    return with_what_comes_before([makers[t] for t in targets], look.stages)


def planned_steps(look: Look) -> set[str]:
    """Return the steps that Snakemake would run for the main job."""
    workflow = look.workflow
    target = workflow.rules["report"]
    table = call_snakemake(workflow.snakefile, "--summary", "--", target).splitlines()
    columns = table[0].split("\t")
    rows = [dict(zip(columns, row.split("\t"), strict=False)) for row in table[1:]]
    planned = {row["output_file"] for row in rows if row["plan"] != "no update"}
    return {n for n in look.stages if not planned.isdisjoint(look.workflow.outputs[n])}
