"""Every private or undocumented name of snakemake-executor-plugin-slurm that is used.

Each function says which names it uses and what no longer works without them. They are
tested against the plugin itself in tests/unit/test_executor_internals.py, which fails
first when another release of it has other names.
"""

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from retune_snakemake.snakemake_internals import SnakemakeRun

if TYPE_CHECKING:
    from snakemake.jobs import Job
    from snakemake_executor_plugin_slurm import Executor, ExecutorSettings

EXECUTOR = "slurm"
# What the executor adds to the time between two of its checks, seconds.
GROWTH_S = 10
# What the executor adds to a request for itself: the name of the run, its log, ...
FLAGS_OF_ITS_OWN = ("--parsable", "--export=ALL")
OPTIONS_OF_ITS_OWN = ("--job-name", "--output", "--comment")
# The resources that the executor reads apart from the others.
ACCOUNT, PARTITION = "slurm_account", "slurm_partition"


def read_executor_settings(options: Namespace) -> "ExecutorSettings":
    """Return the executor's settings.

    Uses `ExecutorPluginRegistry`, which Snakemake's interface does not document.
    Without it a dry run does not show what SLURM would be asked for.

    Args:
        options: Values of Snakemake's options.
    """
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    return ExecutorPluginRegistry().get_plugin(EXECUTOR).get_settings(options)


def status_interval(settings: "ExecutorSettings") -> float:
    """Return the seconds between two checks of the executor.

    Uses `init_seconds_before_status_checks`. Without it nobody watches SLURM's jobs.
    """
    return float(settings.init_seconds_before_status_checks)


def build_command(job: "Job", account: str, partition: str, settings: Any) -> str:
    """Return the command with which the executor would submit a job.

    Uses `validate_slurm_extra`, `get_submit_command`, its parameters, and
    `set_gres_string`. Without them a dry run does not show what SLURM would be asked
    for.

    Args:
        job: Job of Snakemake's that would be submitted.
        account: Option for the account, empty if there is none.
        partition: Option for the partition, empty if there is none.
        settings: Settings of the executor.

    Raises:
        WorkflowError: If the executor would refuse to submit it.
    """
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string
    from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

    validate_slurm_extra(job)
    parameters = {
        **{"run_uuid": "-", "slurm_logfile": "-", "comment_str": "-", "workdir": None},
        "account": account,
        "partition": partition,
    }
    return str(get_submit_command(job, parameters, settings) + set_gres_string(job))


def jobs_of_run(run: SnakemakeRun) -> "ExecutorJobs":
    """Return the jobs that this run waits for, once its executor has started."""
    interval = status_interval(run.executor_settings)
    return ExecutorJobs(run.running_executor, interval)


class ExecutorJobs:
    """The jobs that Snakemake's executor for SLURM waits for.

    It checks them ever more seldom, up to every 180 s, and knows of no end but those
    that it sees in these checks. This lets it check more often, and tells it of others.

    Uses `run_uuid`, `next_seconds_between_status_checks`, `lock`, `active_jobs`,
    `report_job_success` and `report_job_error` of the executor, and `external_jobid`
    and `aux` of what it knows of a job. Without them nobody watches SLURM's jobs.
    """

    def __init__(self, executor: "Executor", interval: float) -> None:
        """Take an executor.

        Args:
            executor: The executor, whose `active_jobs` are waited for.
            interval: Seconds from one of its checks to the next.
        """
        self._executor = executor
        self.interval = interval

    @property
    def run_id(self) -> str:
        """The name that all jobs of the run have in SLURM."""
        return str(self._executor.run_uuid)

    def keep_interval(self) -> None:
        """Keep the time between two checks from growing."""
        before = max(0, self.interval - GROWTH_S)
        self._executor.next_seconds_between_status_checks = before

    def numbers(self) -> set[str]:
        """Return SLURM's numbers of the jobs; empty while the executor checks them."""
        with self._executor.lock:
            return {info.external_jobid for info in self._executor.active_jobs}

    def succeed(self, number: str) -> bool:
        """Have Snakemake check for a job's outputs.

        Returns:
            False if the executor is checking the job itself.
        """
        if info := self._take(number):
            self._executor.report_job_success(info)
        return info is not None

    def fail(self, number: str, reason: str) -> bool:
        """Have Snakemake take a job for failed.

        Returns:
            False if the executor is checking the job itself.
        """
        if info := self._take(number):
            logs = [str(info.aux["slurm_logfile"])]
            self._executor.report_job_error(info, msg=f"{reason}. ", aux_logs=logs)
        return info is not None

    def _take(self, number: str) -> Any:
        """Take a job from those that the executor waits for; None if it is not there.

        What the executor knows of a job is of a type of its own.
        """
        with self._executor.lock:
            for info in self._executor.active_jobs:
                if info.external_jobid == number:
                    self._executor.active_jobs.remove(info)
                    return info
        return None
