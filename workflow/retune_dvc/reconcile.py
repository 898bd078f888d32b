"""When a run begins: lets Snakemake know what DVC knows, and the other way round."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from retune.publishing import MANIFEST
from retune.settings import Params, Settings
from retune.stages import Stage, read_stages, with_what_comes_before, with_what_follows
from retune.training.checkpoint_files import find_damage
from retune_dvc.commands import DoubtError, call_dvc, call_snakemake
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.marks import Outputs, mark_stale, mark_up_to_date
from retune_dvc.memory import (
    Memory,
    read_lock,
    read_settings,
    recall,
    remember,
    state_of,
    value_of,
)
from retune_dvc.recordable import check_recordable
from retune_dvc.run_cache import restore

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
        used: The settings of this run.
        stages: From dvc.yaml, in the order of the run.
        outputs: What each rule of Snakemake writes.
        memories: Each stage as it is now.
        problem: Why this run is not recorded with DVC, None if it is.
        messages: What the user should know.
    """

    used: Params
    stages: dict[str, Stage]
    outputs: Outputs
    memories: dict[str, Memory]
    problem: str | None = None
    messages: list[str] = field(default_factory=list)


def reconcile(
    used: Params, outputs: Outputs, local_sources: dict[str, list[str]]
) -> Look:
    """Mark outputs up to date or stale as DVC sees them; bring back what it has.

    Args:
        used: The settings of this run.
        outputs: What each rule of Snakemake writes.
        local_sources: The user's files that `dataset` and `model` name.
    """
    stages = read_stages()
    recalled = recall()
    memories = {name: recalled.get(name, Memory()) for name in stages}
    look = Look(used, stages, outputs, memories)
    try:
        check_recordable(used, stages, local_sources)
    except DoubtError as doubt:
        look.problem = str(doubt)
        return look
    try:
        compare(look)
    except DoubtError as doubt:
        look.messages.append(f"not compared with DVC: {doubt}")
    return look


def compare(look: Look) -> None:
    """Ask DVC if anything has moved, and act on what it says."""
    stages, memories = look.stages, look.memories
    lock, settings = read_lock(), read_settings()
    states = {name: state_of(name, stages, lock, settings) for name in stages}
    moved = {name for name in stages if states[name] != memories[name].state}
    if not moved and all(memory.clean for memory in memories.values()):
        return
    if not lock and not any(memory.made for memory in memories.values()):
        return  # a first run: nobody knows anything yet
    options = read_options()
    runs_steps = not any(getattr(options, name, None) for name in ONLY_LOOKING)
    if not moved and not runs_steps:
        return

    status = read_status()
    clean = [name for name in stages if name in lock and name not in status]
    respelled = [
        name for name in status if is_only_respelled(name, status[name], lock, look)
    ]
    up_to_date = [name for name in stages if name in [*clean, *respelled]]
    changed_by_others = [
        name
        for name in stages
        if name in lock
        and name not in up_to_date
        and any(map(os.path.exists, look.outputs[name]))
        and fingerprint_files(stages[name].outs) != memories[name].made
    ]
    if changed_by_others:
        mark_stale(changed_by_others, look.outputs)
    adopt([name for name in up_to_date if name in moved], up_to_date, look)
    keep(look, clean)
    if not runs_steps or len(clean) == len(stages):
        return

    left_over = [*respelled, *find_left_over(look, status, lock)]
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
    mark_up_to_date(names, timed, stages, look.outputs)
    for name in timed:
        look.memories[name].made = fingerprint_files(stages[name].outs)
    # Times no longer tell the other readers that their inputs are not what they were.
    readers = [
        name
        for name, stage in stages.items()
        if name not in up_to_date and any(stage.reads(stages[n]) for n in timed)
    ]
    if readers:
        mark_stale(readers, look.outputs)


def keep(look: Look, clean: list[str], to_ask: Iterable[str] = ()) -> None:
    """Remember what was seen.

    Args:
        look: What was seen.
        clean: The steps that are as in dvc.lock.
        to_ask: The steps of which the next look is to ask DVC, whatever it sees.
    """
    lock, settings = read_lock(), read_settings()
    for name, memory in look.memories.items():
        state = state_of(name, look.stages, lock, settings)
        memory.state = "" if name in to_ask else state
        memory.clean = name in clean
    remember(look.memories)


def record(names: list[str], look: Look, why: str) -> None:
    """Write steps as they are to dvc.lock, and say why."""
    call_dvc("commit", "--force", *names)
    look.messages.append(f"{why}: {', '.join(names)}")


def is_only_respelled(
    name: str, changes: list[Any], lock: dict[str, Any], look: Look
) -> bool:
    """Return whether all that DVC finds changed are other words for the same settings.

    DVC compares what is written, so that a default that is spelt out is new to it.
    """
    if name not in lock or any(set(change) != {"changed deps"} for change in changes):
        return False
    if any(set(change["changed deps"]) != {"params.yaml"} for change in changes):
        return False
    recorded = lock[name]["params"]["params.yaml"]
    return all(
        means(recorded.get(setting), value_of(setting, look.used))
        for setting in look.stages[name].params
    )


def means(written: Any, settings: Any) -> bool:
    """Return whether a section, or one value, as written means these settings."""
    if not isinstance(settings, Settings):
        return written == settings
    try:
        return type(settings).model_validate(written or {}) == settings
    except ValidationError:
        return False


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


def read_status() -> dict[str, list[Any]]:
    """Return what DVC finds changed, by stage; stages as in dvc.lock are not in it."""
    return json.loads(call_dvc("status", "--json") or "{}")


def wanted_steps(targets: list[str], look: Look) -> list[str]:
    """Return the steps behind these targets, rules or files."""
    makers = {
        target: name for name in look.stages for target in [name, *look.outputs[name]]
    }
    if not targets or any(target not in makers for target in targets):
        return list(look.stages)  # train, all
    return with_what_comes_before([makers[t] for t in targets], look.stages)


def planned_steps(look: Look) -> set[str]:
    """Return the steps that Snakemake would run for the main job."""
    table = call_snakemake("--summary").splitlines()
    columns = table[0].split("\t")
    rows = [dict(zip(columns, row.split("\t"), strict=False)) for row in table[1:]]
    planned = {row["output_file"] for row in rows if row["plan"] != "no update"}
    return {n for n in look.stages if not planned.isdisjoint(look.outputs[n])}


def read_options() -> Any:
    """Return the options of this Snakemake; the workflow does not know them yet."""
    from snakemake.cli import parse_args

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return parse_args(sys.argv[1:])[1]
    except (Exception, SystemExit) as error:
        raise DoubtError("Snakemake's options could not be read") from error
