"""Follows the jobs of a run by the events that Snakemake logs."""

import logging
from collections.abc import Callable

from snakemake_interface_logger_plugins.common import LogEvent


class JobEvents(logging.Handler):
    """Calls a function before each job starts, and another after it ended well.

    Attached to Snakemake's logger itself it is called in order: before Snakemake
    deletes a job's old outputs, and before it starts what reads the new ones.
    """

    def __init__(
        self, started: Callable[[int], None], finished: Callable[[int], None]
    ) -> None:
        """Take the functions; both get the number of a job."""
        super().__init__()
        self._started = started
        self._finished = finished

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the events of jobs; what goes wrong here must not end the run."""
        event = getattr(record, "event", None)
        try:
            if event == LogEvent.JOB_STARTED:
                for job in getattr(record, "jobs", []):
                    self._started(job)
            elif event == LogEvent.JOB_FINISHED:
                self._finished(getattr(record, "job_id", -1))
        except Exception:
            self.handleError(record)
