# Snakemake and DVC agree on what is up to date; workflow/retune_dvc says how.
# Included last: what each rule writes must be known.
import os

from snakemake.logging import logger

from retune_dvc.commands import NESTED, DoubtError
from retune_dvc.events import JobEvents
from retune_dvc.marks import make_replaceable
from retune_dvc.reconcile import reconcile
from retune_dvc.record import Recorder


def begin_with_dvc():
    """Let Snakemake know what DVC knows, and follow the steps from here on."""
    # DVC sets DVC_STAGE for what it drives, and records that itself.
    if not workflow.is_main_process or {"DVC_STAGE", NESTED} & set(os.environ):
        return None
    # Snakemake goes by the age of a benchmark file, too.
    outputs = {}
    for step in workflow.rules:
        files = [*step.output, *([step.benchmark] if step.benchmark else [])]
        outputs[step.name] = [str(path) for path in files]
    look = reconcile(PARAMS, outputs, LOCAL_SOURCES)
    for message in look.messages:
        logger.warning(message)
    logger.addHandler(JobEvents(start_step, finish_step))
    return Recorder(look)


def find_job(jobid):
    """Return a job of this run."""
    return next(job for job in workflow.dag.jobs if job.jobid == jobid)


def start_step(jobid):
    """Note with what a step starts."""
    if not workflow.touch:
        job = find_job(jobid)
        RECORDER.started(job.rule.name, forced=workflow.dag.reason(job).forced)


def finish_step(jobid):
    """Record what a step made."""
    if not workflow.touch:
        RECORDER.finished(find_job(jobid).rule.name)


def hold_outputs():
    """Keep other DVC commands away from what this run is going to write."""
    if RECORDER is None or workflow.touch:
        return
    if RECORDER.problem:
        logger.warning(f"not recorded with DVC: {RECORDER.problem}")
        return
    try:
        RECORDER.hold(job.rule.name for job in workflow.dag.needrun_jobs())
    except DoubtError as doubt:
        raise WorkflowError(f"{doubt}; wait for it, then run again") from None


def end_with_dvc():
    """Settle with DVC what this run leaves."""
    if RECORDER is None or workflow.touch:
        return
    for message in RECORDER.ended(job.rule.name for job in workflow.dag.finished_jobs):
        logger.warning(message)


if workflow.is_main_process:
    make_replaceable(str(path) for step in workflow.rules for path in step.output)
RECORDER = begin_with_dvc()
