# DVC: what a run finished is recorded in dvc.lock and in DVC's cache.
from snakemake.logging import logger

from retune import versioning


def record_finished():
    """Record the steps of this run that ran or were up to date."""
    if not workflow.is_main_process or workflow.touch:
        return
    dag = workflow.dag
    finished = {
        job.rule.name for job in dag.jobs if dag.finished(job) or not dag.needrun(job)
    }
    if problem := versioning.record(finished, PARAMS):
        logger.warning(problem)


onsuccess:
    record_finished()


onerror:
    record_finished()
