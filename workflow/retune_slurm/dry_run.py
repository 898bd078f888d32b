"""Shows in a dry run what sbatch would be asked for, without asking."""

import shlex
from typing import Any

from snakemake.exceptions import WorkflowError

# What the executor adds for itself: the name of the run, where the log goes, ...
OWN = ("--parsable", "--job-name", "--output", "--export=ALL", "--comment")
# What Snakemake writes for a resource that it cannot compute yet.
TBD = "<TBD>"
LATER = {"runtime": "time", "mem_mb": "memory", "slurm_extra": "signal"}
# The executor reads these two apart from the others.
ACCOUNT, PARTITION = "slurm_account", "slurm_partition"


def describe_request(job: Any, settings: Any) -> str:
    """Return the request of a job, or why the executor would refuse to make it.

    Args:
        job: One that would be submitted.
        settings: The executor's.
    """
    try:
        return f"sbatch: {request(job, settings)}"
    except WorkflowError as error:
        return f"would be refused: {error}"


def request(job: Any, settings: Any) -> str:
    """Return the options of sbatch for a job, by the executor's own function."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string
    from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

    validate_slurm_extra(job)
    parameters = {
        **{"run_uuid": "-", "slurm_logfile": "-", "comment_str": "-", "workdir": None},
        "account": option("-A", job.resources.get(ACCOUNT)),
        "partition": option("-p", job.resources.get(PARTITION)),
    }
    command = get_submit_command(job, parameters, settings) + set_gres_string(job)
    return shlex.join(without_own(shlex.split(command)[1:])) + not_known_yet(job)


def not_known_yet(job: Any) -> str:
    """Return what will be asked for, too, once the job's inputs are there."""
    unknown = [
        name for key, name in LATER.items() if str(job.resources.get(key)) == TBD
    ]
    return (
        f" (to come, from files not made yet: {', '.join(unknown)})" if unknown else ""
    )


def option(name: str, value: Any) -> str:
    """Return an option of sbatch, nothing without a value."""
    return f"{name} {shlex.quote(str(value))}" if value else ""


def without_own(words: list[str]) -> list[str]:
    """Return the options without those that say nothing of what is asked for."""
    kept, skips = [], False
    for word in words:
        if skips:
            skips = False
        elif word in OWN:
            skips = word.startswith(("--job", "--out", "--com"))
        else:
            kept.append(word)
    return kept
