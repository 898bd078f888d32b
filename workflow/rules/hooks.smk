# After a run: record with DVC what it finished, render the report, show the result.
import json
import subprocess
import sys

from snakemake.logging import logger
from snakemake.settings.enums import RerunTrigger

from retune import versioning
from retune.reporting.summary import summary_lines

REPORT = "report.html"


def is_users_own_run():
    """Return whether this is a run a user started, and not DVC or a --touch."""
    return (
        workflow.is_main_process
        and not workflow.touch
        and "DVC_STAGE" not in os.environ
    )


def record_finished():
    """Record the steps of this run that ran or were up to date."""
    dag = workflow.dag
    finished = {job.rule.name for job in dag.finished_jobs}
    # With fewer triggers, "need not run" no longer means "as params.yaml says".
    if RerunTrigger.all() <= workflow.rerun_triggers:
        finished |= {job.rule.name for job in dag.jobs if not dag.needrun(job)}
    if problem := versioning.record(finished, PARAMS):
        logger.warning(problem)


def render_report():
    """Write Snakemake's own report; it needs a Snakemake of its own, after the run."""
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--report", REPORT, "--nolock", "train"],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        logger.warning(f"no {REPORT}: {result.stderr.strip()[-200:]}")


def show_result():
    """Print base against tuned, and where things are."""
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    logger.info("\n".join(["", *summary_lines(evaluation), ""]))
    logger.info("model    models/tuned")
    logger.info(f"report   {REPORT}")


onsuccess:
    if is_users_own_run():
        record_finished()
        if any(job.rule.name == "report" for job in workflow.dag.finished_jobs):
            render_report()
            show_result()


onerror:
    if is_users_own_run():
        record_finished()
