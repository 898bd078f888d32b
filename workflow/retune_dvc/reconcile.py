"""When a run begins: lets Snakemake know what DVC knows, and the other way round."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retune.artifacts.publishing import MANIFEST
from retune.checkpoints.checkpoint_files import find_damage
from retune.settings import Params
from retune_dvc.commands import call_dvc, call_snakemake
from retune_dvc.dvc_files import LockEntry, read_lock
from retune_dvc.dvc_internals import save_to_run_cache
from retune_dvc.errors import UnknownStateError
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.last_seen import LastSeen, read_last_seen, state_of, write_last_seen
from retune_dvc.recordable import check_recordable
from retune_dvc.recorded_inputs import is_changed_by_resolved_alone, is_recorded_with
from retune_dvc.resolve import (
    Resolved,
    is_recorded,
    read_resolved,
    record_resolved,
    resolve,
)
from retune_dvc.run_cache import restore
from retune_dvc.snakemake_state import PlannedState, SnakemakeState, StoredState
from retune_dvc.stages import (
    STAGES,
    Stage,
    read_stages,
    with_what_comes_before,
    with_what_follows,
)
from retune_dvc.step_rules import StepRules
from retune_snakemake.command_line import only_shows, parse_command_line, runs_steps
from retune_snakemake.snakemake_internals import (
    SUMMARY_OUTPUT,
    SUMMARY_PLAN,
    SUMMARY_STAYS,
)


@dataclass
class Reconciled:
    """What was found when a run began; the `Recorder` goes on with it.

    Attributes:
        stages: The stages of dvc.yaml by name, in the order of the run.
        resolved: What the stages of DVC go by in this run.
        rules: The steps as rules.
        seen: Each stage as it is now, by name.
        planned: What a command that only shows something has Snakemake plan with.
        not_recorded: Why this run is not recorded with DVC, None if it is.
        not_compared: Why it could not be compared with DVC, None if it was.
        messages: Lines that the user should read.
    """

    stages: dict[str, Stage]
    resolved: Resolved
    rules: StepRules
    seen: dict[str, LastSeen]
    planned: PlannedState | None = None
    not_recorded: str | None = None
    not_compared: str | None = None
    messages: list[str] = field(default_factory=list)


def reconcile(
    used: Params, user_files: dict[str, list[str]], rules: StepRules
) -> Reconciled:
    """Make outputs up to date or stale as DVC sees them; bring back what it has.

    A command that only shows something changes no file: see `PlannedState`.

    Args:
        used: Settings of this run.
        user_files: Paths of the user's files that sections name, by section.
        rules: The steps as rules.

    Raises:
        RetuneError: If dvc.yaml cannot be read, or `resolved/` not be written.
    """
    stages = stages_of(rules)
    last_seen = read_last_seen()
    seen = {name: last_seen.get(name, LastSeen()) for name in stages}
    run = Reconciled(stages, resolve(used, user_files), rules, seen)
    try:
        check_recordable(used, stages, rules)
    except UnknownStateError as error:
        run.not_recorded = str(error)
        return run
    try:
        compare(run)
    except UnknownStateError as error:
        run.not_compared = str(error)
        run.messages.append(f"not compared with DVC: {error}")
    return run


def stages_of(rules: StepRules) -> dict[str, Stage]:
    """Return the stages of these steps; the user may have some of their own.

    Without a dvc.yaml here they are those of the one that comes with the rules.
    """
    found = read_stages(STAGES if STAGES.exists() else rules.stages)
    return {name: stage for name, stage in found.items() if name in rules.outputs}


def compare(run: Reconciled) -> None:
    """Ask DVC if anything has changed since it was last asked, and act on the answer.

    Raises:
        UnknownStateError: If DVC or Snakemake cannot say.
    """
    stages, seen = run.stages, run.seen
    lock = read_lock()
    states = {n: state_of(n, s, lock, run.resolved) for n, s in stages.items()}
    moved = {name for name in stages if states[name] != seen[name].state}
    resolved = [name for name in stages if is_resolved(name, run)]
    is_known = not moved and all(stage.clean for stage in seen.values())
    if is_known and len(resolved) == len(stages) and is_recorded(run.resolved):
        return
    # The workflow does not know its options yet.
    if (options := parse_command_line(sys.argv[1:])) is None:
        raise UnknownStateError("Snakemake's options could not be read")
    if runs_steps(options):
        record_resolved(run.resolved)
        resolved = list(stages)
    if not lock and not any(stage.made for stage in seen.values()):
        return  # a first run: nobody knows anything yet
    if not moved and not runs_steps(options):
        return
    status = read_status(stages)
    if only_shows(options):
        clean = [n for n in stages if n in lock and is_clean(n, run, status, lock[n])]
        run.planned = PlannedState(stages, run.rules)
        take_over(run, run.planned, clean, moved, lock)
        if readers := readers_of_missing_outputs(stages, clean, lock):
            make_stale(readers, run, run.planned)
        return
    clean = [n for n in stages if n in lock and n in resolved and n not in status]
    state = StoredState(stages, run.rules)
    save_to_run_cache([name for name in clean if name in moved])
    take_over(run, state, clean, moved, lock)
    keep(run, clean)
    if runs_steps(options) and len(clean) < len(stages):
        settle_others(run, state, options, clean, status, lock)


def take_over(
    run: Reconciled,
    state: SnakemakeState,
    clean: list[str],
    moved: set[str],
    lock: dict[str, LockEntry],
) -> None:
    """Have Snakemake take for up to date and for stale what DVC does.

    Args:
        run: What was found.
        state: What Snakemake knows.
        clean: The steps that are as in dvc.lock.
        moved: The steps of which something has changed since DVC was last asked.
        lock: The entries of dvc.lock by stage.
    """
    stages, seen = run.stages, run.seen
    changed_by_others = [
        name
        for name in stages
        if name in lock
        and name not in clean
        and any(map(os.path.exists, run.rules.outputs[name]))
        and fingerprint_files(stages[name].outs) != seen[name].made
    ]
    if changed_by_others:
        make_stale(changed_by_others, run, state)
    # What was made stale Snakemake does not know; nothing of its own need have moved.
    unknown = [n for n in clean if fingerprint_files(stages[n].outs) != seen[n].made]
    names = [name for name in clean if name in {*moved, *unknown}]
    make_up_to_date(names, clean, run, state)


def settle_others(
    run: Reconciled,
    state: SnakemakeState,
    options: Namespace,
    clean: list[str],
    status: dict[str, list[Any]],
    lock: dict[str, LockEntry],
) -> None:
    """Record what an earlier run could not, and bring back what DVC's cache has.

    Args:
        run: What was found.
        state: What Snakemake knows.
        options: Values of Snakemake's options.
        clean: The steps that are as in dvc.lock.
        status: What DVC finds changed, by stage.
        lock: The entries of dvc.lock by stage.
    """
    stages = run.stages
    unrecorded = find_unrecorded(run, status, lock)
    if unrecorded:
        record(unrecorded, run, "recorded with DVC, from an earlier run")
    forced = options.forceall or options.force or options.forcerun
    # What follows from a stale step is stale, too, though DVC cannot know it yet.
    stale = with_what_follows(
        [name for name in stages if name not in [*clean, *unrecorded]], stages
    )
    wanted = wanted_steps(options.targets, run)
    cached = {} if forced else restore([n for n in stale if n in wanted], stages)
    if restored := [
        name for name, was_brought_back in cached.items() if was_brought_back
    ]:
        record(restored, run, "brought back from DVC's cache instead of run")
    if settled := [name for name in stages if name in [*unrecorded, *cached]]:
        up_to_date = [n for n in stages if n not in stale or n in cached]
        make_up_to_date(settled, up_to_date, run, state)
        keep(run, up_to_date, to_ask=[n for n in stages if n not in up_to_date])


def make_up_to_date(
    names: list[str], up_to_date: list[str], run: Reconciled, state: SnakemakeState
) -> None:
    """Let Snakemake take these steps' outputs for its own, as they are.

    Args:
        names: The steps.
        up_to_date: All steps whose outputs are right, these included.
        run: What was found.
        state: What Snakemake knows.
    """
    if not names:
        return
    stages = run.stages
    # They get new times, and so must those that were made of them.
    timed = [name for name in with_what_follows(names, stages) if name in up_to_date]
    state.make_up_to_date(names, timed)
    for name in timed:
        run.seen[name].made = fingerprint_files(stages[name].outs)
    # Times no longer tell the other readers that their inputs are not what they were.
    readers = [
        name
        for name, stage in stages.items()
        if name not in up_to_date and any(stage.reads(stages[n]) for n in timed)
    ]
    if readers:
        make_stale(readers, run, state)


def make_stale(names: list[str], run: Reconciled, state: SnakemakeState) -> None:
    """Make Snakemake forget how it made these steps' outputs."""
    state.make_stale(names)
    for name in names:
        run.seen[name].made = ""


def keep(run: Reconciled, clean: list[str], to_ask: Iterable[str] = ()) -> None:
    """Write down how the stages are now.

    Args:
        run: What was found.
        clean: The steps that are as in dvc.lock.
        to_ask: The steps of which the next run is to ask DVC in any case.
    """
    lock = read_lock()
    for name, seen in run.seen.items():
        state = state_of(name, run.stages[name], lock, run.resolved)
        seen.state = "" if name in to_ask else state
        seen.clean = name in clean
    write_last_seen(run.seen)


def record(names: list[str], run: Reconciled, why: str) -> None:
    """Write steps as they are to dvc.lock, and say why."""
    call_dvc("commit", "--force", *names)
    run.messages.append(f"{why}: {', '.join(names)}")


def readers_of_missing_outputs(
    stages: dict[str, Stage], clean: list[str], lock: dict[str, LockEntry]
) -> list[str]:
    """Return the steps that read an output which was recorded and is not there.

    A run brings such outputs back; Snakemake alone does not miss them while what was
    made of them is there.
    """
    missing = [
        stage
        for name, stage in stages.items()
        if name in lock and not all(map(os.path.exists, stage.outs))
    ]
    return [
        name
        for name, stage in stages.items()
        if name not in clean and any(stage.reads(other) for other in missing)
    ]


def is_clean(
    name: str, run: Reconciled, status: dict[str, list[Any]], entry: LockEntry
) -> bool:
    """Return whether a step is as in dvc.lock, whatever `resolved/` holds.

    A command that only shows something does not write `resolved/`, which may be that
    of another run.

    Args:
        name: Name of the step.
        run: What was found.
        status: What DVC finds changed, by stage.
        entry: The step's entry in dvc.lock.
    """
    return is_changed_by_resolved_alone(status.get(name, [])) and is_recorded_with(
        entry, name, run.stages[name], run.resolved
    )


def is_resolved(name: str, run: Reconciled) -> bool:
    """Return whether `resolved/` says of a stage what this run goes by."""
    stage = run.stages[name]
    return read_resolved().read_by(name, stage) == run.resolved.read_by(name, stage)


def find_unrecorded(
    run: Reconciled, status: dict[str, list[Any]], lock: dict[str, LockEntry]
) -> list[str]:
    """Return what Snakemake made in an earlier run and still finds up to date.

    Args:
        run: What was found.
        status: What DVC finds changed, by stage.
        lock: The entries of dvc.lock by stage.
    """
    candidates = [
        name
        for name, changes in status.items()
        if (name not in lock or any("changed outs" in change for change in changes))
        and run.seen[name].made
        and fingerprint_files(run.stages[name].outs) == run.seen[name].made
        and is_as_written(run.stages[name].outs)
    ]
    planned = planned_steps(run) if candidates else set()
    return [name for name in candidates if name not in planned]


def is_as_written(outs: Iterable[str]) -> bool:
    """Return whether all folders that have a manifest are, to the byte, what it says.

    A bit that has flipped changes no time and no size; dvc.lock must not call it right.
    """
    folders = [Path(out) for out in outs if (Path(out) / MANIFEST).exists()]
    return not any(map(find_damage, folders))


def read_status(stages: Iterable[str]) -> dict[str, list[Any]]:
    """Return what DVC finds changed of these stages; one as in dvc.lock is not in it.

    DVC answers for all stages of the repository, which may have others.
    """
    status = json.loads(call_dvc("status", "--json") or "{}")
    return {name: status[name] for name in stages if name in status}


def wanted_steps(targets: list[str], run: Reconciled) -> list[str]:
    """Return the steps that these targets, rules or files, need."""
    rules, outputs = run.rules.rules, run.rules.outputs
    makers = {
        target: name for name in run.stages for target in [rules[name], *outputs[name]]
    }
    if not targets or any(target not in makers for target in targets):
        return list(run.stages)  # train, all
    return with_what_comes_before([makers[t] for t in targets], run.stages)


def planned_steps(run: Reconciled) -> set[str]:
    """Return the steps that Snakemake would run for the main job."""
    rules = run.rules
    targets = rules.rules_of(["report", "publish"])
    table = call_snakemake(rules.snakefile, "--summary", "--", *targets).splitlines()
    columns = table[0].split("\t")
    rows = [dict(zip(columns, row.split("\t"), strict=False)) for row in table[1:]]
    planned = {
        row[SUMMARY_OUTPUT] for row in rows if row[SUMMARY_PLAN] != SUMMARY_STAYS
    }
    return {n for n in run.stages if not planned.isdisjoint(rules.outputs[n])}
