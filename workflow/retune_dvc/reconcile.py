"""When a run begins: lets Snakemake know what DVC knows, and the other way round."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import snakemake
import yaml

from retune.errors import RetuneError
from retune.params import read_params
from retune.settings import Params
from retune.stages import Stage, is_code, read_stages, with_what_comes_before
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
)
from retune_dvc.run_cache import restore

SWITCH_OFF = "RETUNE_NO_DVC"
# The releases whose options this package knows.
SNAKEMAKE = "9."
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
        outputs: What each rule of Snakemake writes.
        memories: Each stage as it is now.
        problem: Why this run is not recorded with DVC, None if it is.
        messages: What the user should know.
    """

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
    look = Look(stages, outputs, memories)
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


def check_recordable(
    used: Params, stages: dict[str, Stage], local_sources: dict[str, list[str]]
) -> None:
    """Raise DoubtError if DVC cannot record what this run does."""
    if os.environ.get(SWITCH_OFF):
        raise DoubtError(f"{SWITCH_OFF} is set")
    if not Path(".dvc").is_dir():
        raise DoubtError("there is no .dvc folder here; `dvc init` makes one")
    if not snakemake.__version__.startswith(SNAKEMAKE):
        raise DoubtError(f"Snakemake {snakemake.__version__} is not known to retune")
    settings = read_settings()
    if missing := [name for name in Params.model_fields if name not in settings]:
        raise DoubtError(
            f"params.yaml lacks {', '.join(missing)}, which DVC wants to see; for the"
            f" defaults write `{missing[0]}: {{}}`"
        )
    if read_params(settings) != used:
        raise DoubtError("some settings are not those of params.yaml")
    for section, files in local_sources.items():
        check_deps_of_user(section, files, stages)


def check_deps_of_user(
    section: str, files: list[str], stages: dict[str, Stage]
) -> None:
    """Raise DoubtError unless dvc.yaml names the user's files that a section names."""
    step = next(name for name, stage in stages.items() if section in stage.params)
    deps = [Path(dep) for dep in stages[step].deps if not is_code(dep)]
    paths = [Path(os.path.relpath(file)) for file in files]
    for path in paths:
        if not any(path.is_relative_to(dep) for dep in deps):
            raise DoubtError(f"add {path} to the deps of {step} in dvc.yaml")
    for dep in deps:
        if not any(path.is_relative_to(dep) for path in paths):
            raise DoubtError(
                f"remove {dep} from the deps of {step} in dvc.yaml: {section} in"
                " params.yaml does not name it"
            )


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

    changed = read_status()
    clean = [name for name in stages if name in lock and name not in changed]
    changed_by_others = [
        name
        for name in stages
        if name in lock
        and name not in clean
        and any(map(os.path.exists, look.outputs[name]))
        and fingerprint_files(stages[name].outs) != memories[name].made
    ]
    if changed_by_others:
        mark_stale(changed_by_others, look.outputs)
    if moved & set(clean):
        mark_up_to_date(
            [name for name in clean if name in moved], clean, stages, look.outputs
        )
    keep(look, clean)
    if runs_steps and len(clean) < len(stages):
        settle(look, options, clean)


def keep(look: Look, clean: list[str]) -> None:
    """Remember what was seen; the clean steps are now known to Snakemake."""
    lock, settings = read_lock(), read_settings()
    for name, stage in look.stages.items():
        memory = look.memories[name]
        memory.state = state_of(name, look.stages, lock, settings)
        memory.clean = name in clean
        if memory.clean:
            memory.made = fingerprint_files(stage.outs)
    remember(look.memories)


def settle(look: Look, options: Any, clean: list[str]) -> None:
    """Record what an earlier run left unrecorded; bring back what DVC's cache has."""
    recorded = record_left_over(look, clean)
    brought_back = []
    if not (options.forceall or options.force or options.forcerun):
        stale = [name for name in look.stages if name not in [*clean, *recorded]]
        wanted = wanted_steps(options.targets, look)
        brought_back = bring_back([name for name in stale if name in wanted], look)
    if settled := [n for n in look.stages if n in [*recorded, *brought_back]]:
        clean = [n for n in look.stages if n in [*clean, *settled]]
        mark_up_to_date(settled, clean, look.stages, look.outputs)
        keep(look, clean)


def record_left_over(look: Look, clean: list[str]) -> list[str]:
    """Record what Snakemake made in an earlier run and still finds up to date."""
    candidates = [
        name
        for name, stage in look.stages.items()
        if name not in clean
        and look.memories[name].made
        and fingerprint_files(stage.outs) == look.memories[name].made
    ]
    recorded = candidates and [n for n in candidates if n not in planned_steps(look)]
    if recorded:
        call_dvc("commit", "--force", *recorded)
        look.messages.append(
            f"recorded with DVC, from an earlier run: {', '.join(recorded)}"
        )
    return recorded


def bring_back(names: list[str], look: Look) -> list[str]:
    """Bring back what DVC's cache has of these stale steps; return what is settled."""
    cached = restore(names, look.stages)
    restored = [name for name, was_brought_back in cached.items() if was_brought_back]
    if restored:
        call_dvc("commit", "--force", *restored)
        look.messages.append(
            f"brought back from DVC's cache instead of run: {', '.join(restored)}"
        )
    return list(cached)


def read_status() -> set[str]:
    """Return the stages of which DVC says that they are not as in dvc.lock."""
    return set(yaml.safe_load(call_dvc("status", "--json")) or {})


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


def is_of_the_file(used: Params, sections: tuple[str, ...]) -> bool:
    """Return whether params.yaml says of these sections what this run uses."""
    try:
        written = read_params(read_settings())
    except RetuneError:  # among them DoubtError
        return False
    return all(getattr(written, name) == getattr(used, name) for name in sections)
