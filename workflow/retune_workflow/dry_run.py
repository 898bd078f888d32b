"""A dry run in a line per step that would run, and why."""

import logging
from collections.abc import Callable
from textwrap import fill

from snakemake_interface_logger_plugins.common import LogEvent

from retune_workflow.planned_step import PlannedStep
from retune_workflow.reasons import find_reasons

WIDTH = 88
NAME_WIDTH = 12


class ShowSteps(logging.Handler):
    """Prints lines for each job of a dry run, and one after all of them."""

    def __init__(
        self,
        lines_of_job: Callable[[int], list[str]],
        last_line: Callable[[], str],
        show: Callable[[str], None],
    ) -> None:
        """Prepare to print.

        Args:
            lines_of_job: Function that returns the lines for a job by its number.
            last_line: Function that returns the line after all jobs.
            show: Function that prints a line.
        """
        super().__init__()
        self._lines_of_job = lines_of_job
        self._last_line = last_line
        self._show = show
        self._has_shown = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print what is known of a job that is shown."""
        event = getattr(record, "event", None)
        try:
            if event == LogEvent.JOB_INFO:
                for line in self._lines_of_job(getattr(record, "jobid", -1)):
                    self._show(line)
                    self._has_shown = True
            # Snakemake counts the jobs before a dry run and after it.
            elif event == LogEvent.RUN_INFO and self._has_shown:
                self._show(self._last_line())
        except Exception:
            self.handleError(record)


def step_lines(step: PlannedStep) -> str:
    """Return a step and why it would run, in as many lines as that needs."""
    text = fill(
        "; ".join(find_reasons(step)),
        WIDTH,
        initial_indent=f"{step.name:<{NAME_WIDTH}}  ",
        subsequent_indent=" " * (NAME_WIDTH + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return text.replace("\N{NO-BREAK SPACE}", " ")


def count_steps(planned: int, up_to_date: int, may_come_back: bool = False) -> str:
    """Return how many steps would run and how many need not, in a line or two.

    Args:
        planned: Number of steps that would run.
        up_to_date: Number of steps that need not run.
        may_come_back: Whether DVC's cache may have the results of any.
    """
    steps = "1 step" if planned == 1 else f"{planned} steps"
    kept = f"; {up_to_date} {'is' if up_to_date == 1 else 'are'} up to date"
    line = f"{steps} would run{kept if up_to_date else ''}."
    if may_come_back:
        line += "\nWhat ran exactly so before is brought back from DVC's cache."
    return line
