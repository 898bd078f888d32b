# Snakemake and DVC agree on what is up to date; workflow/retune_dvc says how.
# Included last: what each rule writes must be known.
import functools
import os

from snakemake.logging import logger

from retune_dvc.commands import NESTED
from retune_dvc.dvc_internals import DRIVEN_BY_DVC, save_to_run_cache
from retune_dvc.errors import UnknownStateError
from retune_dvc.file_times import make_replaceable
from retune_dvc.reconcile import reconcile
from retune_dvc.record import Recorder
from retune_dvc.recordable import uses_dvc
from retune_dvc.resolve import RESOLVE_STAGE, read_resolved, resolve
from retune_dvc.step_rules import StepRules
from retune_snakemake.command_line import plans_steps
from retune_snakemake.job_events import JobEvents

# The private names that recording goes by, and what is lost with them.
RECORDING_TOOLS = "snakemake", "dvc"
NOT_RECORDED = "not recorded with DVC"


def as_steps():
    """Return the rules of this workflow as steps."""
    found = {step: SNAKEMAKE.find_rule(name) for step, name in RULES.items()}
    rules = {step: rule for step, rule in found.items() if rule}
    return StepRules(
        snakefile=SNAKEMAKE.snakefile,
        stages=LIBRARY.parents[1] / "dvc.yaml",
        rules={step: rule.name for step, rule in rules.items()},
        outputs={step: list(rule.outputs) for step, rule in rules.items()},
        benchmarks={step: list(rule.benchmarks) for step, rule in rules.items()},
    )


def begin_with_dvc():
    """Let Snakemake know what DVC knows; return what records the steps, or None."""
    if not SNAKEMAKE.is_main_process or NESTED in os.environ or not STEP_RULES.rules:
        return None
    if OPTIONS and not plans_steps(OPTIONS):
        return None
    # DVC records itself what it drives.
    if DRIVEN_BY_DVC in os.environ:
        check_resolved()
        if may_write():
            save_to_run_cache(STEP_RULES.outputs)
        return None
    if not STEP_RULES.stages.exists():
        logger.warning(f"{NOT_RECORDED}: {STEP_RULES.stages} is missing")
        return None
    run = reconcile(PARAMS, LOCAL_SOURCES, STEP_RULES)
    for message in run.messages:
        logger.warning(message)
    if run.planned:
        SNAKEMAKE.plan_with(run.planned.times, run.planned.unrecorded)
    # Elsewhere a line when steps are run is enough.
    if run.not_recorded and uses_dvc():
        logger.warning(f"{NOT_RECORDED}: {run.not_recorded}")
    logger.addHandler(JobEvents(start_step, finish_step))
    return Recorder(run)


def check_resolved():
    """Stop if DVC would record another run than the one which it drives."""
    others = read_resolved().differs_in(resolve(PARAMS, LOCAL_SOURCES))
    if others:
        stop(
            f"resolved/ has other {' and '.join(others)} than this run, and DVC would"
            " record those: run `dvc repro` without --single-item, or first"
            f" `dvc repro {RESOLVE_STAGE}`"
        )


def start_step(jobid):
    """Note with what a step starts."""
    lock_without_hooks()
    UPGRADES.attempt(
        "results are not brought back from DVC's cache",
        RECORDING_TOOLS,
        lambda: note_start(SNAKEMAKE.find_job(jobid)),
        None,
    )


def note_start(job):
    """Have the recorder note with what a step starts."""
    step = STEP_RULES.step_of(job.rule)
    if step and not SNAKEMAKE.is_touch:
        RECORDER.started(step, forced=SNAKEMAKE.is_forced(job.number))


def finish_step(jobid):
    """Record what a step made."""
    UPGRADES.attempt(
        NOT_RECORDED,
        RECORDING_TOOLS,
        lambda: record_step(SNAKEMAKE.find_job(jobid)),
        None,
    )


def record_step(job):
    """Have the recorder record what a step made."""
    step = STEP_RULES.step_of(job.rule)
    if step and not SNAKEMAKE.is_touch:
        RECORDER.finished(step)


def steps_of(jobs):
    """Return the steps among these jobs."""
    return [step for job in jobs if (step := STEP_RULES.step_of(job.rule))]


@functools.cache
def lock_outputs():
    """Keep DVC's commands away from what this run reads and is going to write.

    Raises:
        UnknownStateError: If one is at work on any of it.
    """
    if RECORDER is None or SNAKEMAKE.is_touch:
        return
    if RECORDER.not_recorded and not uses_dvc():
        logger.warning(f"{NOT_RECORDED}: {RECORDER.not_recorded}")
    UPGRADES.attempt(
        "DVC is not kept away from what this run writes",
        RECORDING_TOOLS,
        lambda: RECORDER.lock_outputs(steps_of(SNAKEMAKE.needed_jobs())),
        None,
    )


def lock_before_start():
    """Lock outputs before anything starts, or stop."""
    try:
        lock_outputs()
    except UnknownStateError as error:
        stop(f"{error}; wait for it, then run again")


def lock_without_hooks():
    """Lock outputs when the first step starts: the hook may not have been called.

    There is --no-hooks, and a module's hooks are for its user to call.
    """
    try:
        lock_outputs()
    except UnknownStateError as error:
        logger.warning(str(error))


def end_with_dvc():
    """Settle with DVC what this run leaves."""
    if RECORDER is None or SNAKEMAKE.is_touch:
        return
    messages = UPGRADES.attempt(
        NOT_RECORDED,
        RECORDING_TOOLS,
        lambda: RECORDER.ended(steps_of(SNAKEMAKE.finished_jobs())),
        [],
    )
    for message in messages:
        logger.warning(message)


STEP_RULES = UPGRADES.attempt(
    NOT_RECORDED, RECORDING_TOOLS, as_steps, StepRules.without_rules()
)
if SNAKEMAKE.is_main_process and may_write():
    make_replaceable(path for paths in STEP_RULES.outputs.values() for path in paths)
try:
    RECORDER = UPGRADES.attempt(NOT_RECORDED, RECORDING_TOOLS, begin_with_dvc, None)
except RetuneError as error:
    stop(error)
