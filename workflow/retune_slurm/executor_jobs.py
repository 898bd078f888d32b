"""The jobs that Snakemake's executor for SLURM waits for.

It looks at them ever more seldom, up to every 180 s, and knows no end but those that it
sees in these looks.
"""

from typing import Any

# What the executor adds to the time between two looks, seconds.
GROWTH_S = 10


class ExecutorJobs:
    """What an executor waits for, and how to tell it of an end that it does not see."""

    def __init__(self, executor: Any, interval: float) -> None:
        """Take an executor.

        Args:
            executor: Snakemake's, of which `active_jobs` are waited for.
            interval: Seconds from one of its looks to the next.
        """
        self._executor = executor
        self._interval = interval

    @property
    def run_id(self) -> str:
        """The name of the jobs."""
        return str(self._executor.run_uuid)

    def keep_looking(self) -> None:
        """Keep the time between two looks from growing."""
        before = max(0, self._interval - GROWTH_S)
        self._executor.next_seconds_between_status_checks = before

    def numbers(self) -> set[str]:
        """Return the jobs that are waited for; none while the executor looks."""
        with self._executor.lock:
            return {info.external_jobid for info in self._executor.active_jobs}

    def succeed(self, number: str) -> bool:
        """Have Snakemake look for a job's outputs.

        Returns:
            False if the executor is looking at the job itself.
        """
        if info := self._take(number):
            self._executor.report_job_success(info)
        return info is not None

    def fail(self, number: str, reason: str) -> bool:
        """Have Snakemake take a job for failed.

        Returns:
            False if the executor is looking at the job itself.
        """
        if info := self._take(number):
            logs = [str(info.aux["slurm_logfile"])]
            self._executor.report_job_error(info, msg=f"{reason}. ", aux_logs=logs)
        return info is not None

    def _take(self, number: str) -> Any:
        with self._executor.lock:
            for info in self._executor.active_jobs:
                if info.external_jobid == number:
                    self._executor.active_jobs.remove(info)
                    return info
        return None
