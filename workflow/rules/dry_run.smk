# A dry run says in a line per step what would run, and why. With --verbose or
# --printshellcmds, or another logger than ours, Snakemake says it in its own way.
import functools

from retune_dvc.dvc_files import LOCK
from retune_dvc.resolve import resolve
from retune_workflow.dry_run import ShowSteps, count_steps, step_lines
from retune_workflow.planned_step import plan_step


@functools.cache
def resolved_now():
    """Return what DVC's stages go by in this run."""
    return resolve(PARAMS, LOCAL_SOURCES)


def plan_of(job):
    """Return what is known of why a job would run."""
    step = STEP_RULES.step_of(job.rule) or job.rule
    provenance = SNAKEMAKE.read_provenance(job.number)
    return plan_step(job, provenance, step, PARAMS, resolved_now())


def why_it_would_run(job):
    """Return a job's line with the reasons why it would run; its name if unknown."""
    return UPGRADES.attempt(
        "why a step would run is not known",
        ["snakemake", "dvc"],
        lambda: step_lines(plan_of(job)),
        job.rule,
    )


def slurm_request(job):
    """Return a line with what SLURM would be asked for, none if nothing is known."""
    return UPGRADES.attempt(
        "what SLURM would be asked for is not known",
        SLURM_TOOLS,
        lambda: f"    {request_line(SNAKEMAKE.own_job(job.number), slurm_settings)}",
        None,
    )


def lines_of_job(jobid):
    """Return what a dry run shows of a job."""
    if not SNAKEMAKE.is_dry_run:
        return []
    job = SNAKEMAKE.find_job(jobid)
    lines = []
    if not (job.runs_nothing or SNAKEMAKE.shows_own_words):
        lines.append(why_it_would_run(job))
    if is_submitted(job):
        lines.append(slurm_request(job))
    return [line for line in lines if line]


def last_line():
    """Return how many steps would run."""
    steps = [job for job in SNAKEMAKE.jobs() if not job.runs_nothing]
    needed = {job.number for job in SNAKEMAKE.needed_jobs(or_finished=True)}
    planned = sum(job.number in needed for job in steps)
    may_come_back = bool(RECORDER) and not RECORDER.not_recorded and LOCK.exists()
    return count_steps(planned, len(steps) - planned, may_come_back)


def attempt_lines(show, otherwise):
    """Return a function that shows nothing once Snakemake does not let it know."""
    return lambda *job: UPGRADES.attempt(
        "which steps would run is not known",
        ["snakemake"],
        lambda: show(*job),
        otherwise,
    )


if SNAKEMAKE.is_main_process:
    logger.addHandler(
        ShowSteps(
            attempt_lines(lines_of_job, []), attempt_lines(last_line, ""), logger.info
        )
    )
