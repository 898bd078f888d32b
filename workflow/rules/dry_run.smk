# A dry run says in a line per step what would run, and why. With --verbose or
# --printshellcmds, or another logger than ours, Snakemake says it in its own way.
import functools

from retune_dvc.memory import LOCK
from retune_dvc.resolve import resolve
from retune_workflow.dry_run import ShowSteps, count_steps, describe_step
from retune_workflow.snakemake_dag import read_planned_step


def is_told_by_snakemake():
    """Return whether Snakemake's own description of each job is shown."""
    shown = workflow.output_settings
    by_us = "retune" in shown.log_handler_settings
    return shown.verbose or shown.printshellcmds or not by_us


@functools.cache
def resolved_now():
    """Return what DVC's stages go by in this run."""
    return resolve(PARAMS, LOCAL_SOURCES)


def plan_of(job):
    """Return what is known of why a job would run."""
    step = STEPS.step_of(job.rule.name) or job.rule.name
    return read_planned_step(job, step, PARAMS, resolved_now())


def lines_of_job(jobid):
    """Return what a dry run shows of a job."""
    if not workflow.dryrun:
        return []
    job = find_job(jobid)
    lines = []
    if not (job.rule.norun or is_told_by_snakemake()):
        lines.append(describe_step(plan_of(job)))
    if is_submitted(job):
        lines.append(f"    {describe_request(job, slurm_settings)}")
    return lines


def last_line():
    """Return how many steps would run."""
    steps = [job for job in workflow.dag.jobs if not job.rule.norun]
    planned = [job for job in steps if workflow.dag.needrun(job)]
    may_come_back = bool(RECORDER) and not RECORDER.problem and LOCK.exists()
    return count_steps(len(planned), len(steps) - len(planned), may_come_back)


if workflow.is_main_process:
    logger.addHandler(ShowSteps(lines_of_job, last_line, logger.info))
