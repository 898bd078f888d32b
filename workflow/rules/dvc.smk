# Snakemake and DVC agree on what is up to date; workflow/retune_dvc says how.
# Included last: what each rule writes must be known.
import functools
import os

from snakemake.logging import logger

from retune_dvc.commands import NESTED, DoubtError
from retune_dvc.events import JobEvents
from retune_dvc.marks import make_replaceable
from retune_dvc.reconcile import reconcile
from retune_dvc.record import Recorder
from retune_dvc.recordable import uses_dvc
from retune_dvc.resolve import RESOLVE_STAGE, read_resolved, resolve
from retune_dvc.run_cache import save_results
from retune_dvc.workflow import Workflow


def as_steps():
    """Return the rules of this workflow as steps."""
    rules = {
        step: workflow.get_rule(name)
        for step, name in RULES.items()
        if workflow.is_rule(name)
    }
    return Workflow(
        snakefile=str(workflow.main_snakefile),
        stages=LIBRARY.parents[1] / "dvc.yaml",
        rules={step: rule.name for step, rule in rules.items()},
        outputs={step: list(map(str, rule.output)) for step, rule in rules.items()},
        benchmarks={
            step: [str(rule.benchmark)] if rule.benchmark else []
            for step, rule in rules.items()
        },
        code={step: code(step) for step in rules},
    )


def begin_with_dvc():
    """Let Snakemake know what DVC knows, and follow the steps from here on."""
    if not workflow.is_main_process or NESTED in os.environ:
        return None
    # DVC sets DVC_STAGE for what it drives, and records that itself.
    if "DVC_STAGE" in os.environ:
        check_resolved()
        save_results(STEPS.outputs)
        return None
    if not STEPS.stages.exists():
        logger.warning(f"not recorded with DVC: {STEPS.stages} is missing")
        return None
    try:
        look = reconcile(PARAMS, LOCAL_SOURCES, STEPS)
    except RetuneError as error:
        stop(error)
    for message in look.messages:
        logger.warning(message)
    # Elsewhere a line when steps are run is enough.
    if look.problem and uses_dvc():
        logger.warning(f"not recorded with DVC: {look.problem}")
    logger.addHandler(JobEvents(start_step, finish_step))
    return Recorder(look)


def check_resolved():
    """Stop if DVC would record another run than the one which it drives."""
    others = read_resolved().differs_in(resolve(PARAMS, LOCAL_SOURCES))
    if others:
        stop(
            f"resolved/ has other {' and '.join(others)} than this run, and DVC would"
            " record those: run `dvc repro` without --single-item, or first"
            f" `dvc repro {RESOLVE_STAGE}`"
        )


def find_job(jobid):
    """Return a job of this run."""
    return next(job for job in workflow.dag.jobs if job.jobid == jobid)


def start_step(jobid):
    """Note with what a step starts."""
    hold_without_hooks()
    job = find_job(jobid)
    step = STEPS.step_of(job.rule.name)
    if step and not workflow.touch:
        RECORDER.started(step, forced=workflow.dag.reason(job).forced)


def finish_step(jobid):
    """Record what a step made."""
    step = STEPS.step_of(find_job(jobid).rule.name)
    if step and not workflow.touch:
        RECORDER.finished(step)


def steps_of(jobs):
    """Return the steps among these jobs."""
    return [step for job in jobs if (step := STEPS.step_of(job.rule.name))]


@functools.cache
def hold_outputs():
    """Keep DVC's commands away from what this run reads and is going to write.

    Raises:
        DoubtError: If one is at work on any of it.
    """
    if RECORDER is None or workflow.touch:
        return
    if RECORDER.problem and not uses_dvc():
        logger.warning(f"not recorded with DVC: {RECORDER.problem}")
    RECORDER.hold(steps_of(workflow.dag.needrun_jobs()))


def hold_before_start():
    """Hold outputs before anything starts, or stop."""
    try:
        hold_outputs()
    except DoubtError as doubt:
        stop(f"{doubt}; wait for it, then run again")


def hold_without_hooks():
    """Hold outputs when the first step starts: the hook may not have been called.

    There is --no-hooks, and a module's hooks are for its user to call.
    """
    try:
        hold_outputs()
    except DoubtError as doubt:
        logger.warning(str(doubt))


def end_with_dvc():
    """Settle with DVC what this run leaves."""
    if RECORDER is None or workflow.touch:
        return
    for message in RECORDER.ended(steps_of(workflow.dag.finished_jobs)):
        logger.warning(message)


STEPS = as_steps()
if workflow.is_main_process:
    make_replaceable(path for paths in STEPS.outputs.values() for path in paths)
RECORDER = begin_with_dvc()
