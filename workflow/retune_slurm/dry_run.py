"""Shows in a dry run what sbatch would be asked for, without asking."""

import shlex
from typing import TYPE_CHECKING

from snakemake.exceptions import WorkflowError

from retune_slurm.executor_internals import (
    ACCOUNT,
    FLAGS_OF_ITS_OWN,
    OPTIONS_OF_ITS_OWN,
    PARTITION,
    build_command,
)
from retune_snakemake.snakemake_internals import TO_BE_DETERMINED

if TYPE_CHECKING:
    from snakemake.jobs import Job
    from snakemake_executor_plugin_slurm import ExecutorSettings

# What a resource that is not known yet is called in the line of a job.
LATER = {"runtime": "time", "mem_mb": "memory", "slurm_extra": "signal"}


def request_line(job: "Job", settings: "ExecutorSettings") -> str:
    """Return the request of a job, or why the executor would refuse to make it.

    Args:
        job: Job of Snakemake's that would be submitted.
        settings: Settings of the executor.
    """
    try:
        return f"sbatch: {request(job, settings)}"
    except WorkflowError as error:
        return f"would be refused: {error}"


def request(job: "Job", settings: "ExecutorSettings") -> str:
    """Return the options of sbatch for a job, by the executor's own function.

    Raises:
        WorkflowError: If the executor would refuse to submit it.
    """
    account = option("-A", job.resources.get(ACCOUNT))
    partition = option("-p", job.resources.get(PARTITION))
    words = shlex.split(build_command(job, account, partition, settings))[1:]
    return shlex.join(without_executors_own(words)) + not_known_yet(job)


def not_known_yet(job: "Job") -> str:
    """Return what will be asked for, too, once the job's inputs are there."""
    unknown = [
        name
        for key, name in LATER.items()
        if str(job.resources.get(key)) == TO_BE_DETERMINED
    ]
    return (
        f" (to come, from files not made yet: {', '.join(unknown)})" if unknown else ""
    )


def option(name: str, value: object) -> str:
    """Return an option of sbatch, nothing without a value."""
    return f"{name} {shlex.quote(str(value))}" if value else ""


def without_executors_own(words: list[str]) -> list[str]:
    """Return the words of a command without those that say nothing of the request."""
    kept, is_value = [], False
    for word in words:
        if is_value:
            is_value = False
        elif word in OPTIONS_OF_ITS_OWN:
            is_value = True
        elif word not in FLAGS_OF_ITS_OWN:
            kept.append(word)
    return kept
