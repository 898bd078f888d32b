"""Snakemake logger plugin `retune`: one line per finished step, with its result.

A step's result is the last line of its log, `done: ...`. For a dry run the plugin shows
what `retune_workflow` says about each step. With --verbose or --printshellcmds it shows
everything as Snakemake does.
"""

import math
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from logging import ERROR, WARNING, LogRecord, makeLogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_retune.plain_handler import plain_log_handler

GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"
# A progress bar may be on the line: begin at its start and wipe it.
WIPE_LINE = "\r\x1b[2K"
LINES_OF_A_FAILED_LOG = 15

# Messages of every run about Snakemake's own workings, which are not shown.
ROUTINE = re.compile(
    r"Assuming unrestricted|Building DAG|Using shell|Select jobs|Execute \d+ jobs"
    r"|Complete log|Elapsed time|Shutting down, this might|Exiting because a job"
    r"|Conda environments: ignored|None$|\s*$"
    # The run stops after this one, with a better message.
    r"|Failed to setup log file"
    # Messages of a dry run.
    r"|This was a dry-run|Some jobs were triggered by provenance|Reasons:"
    r"|Rules with provenance triggered jobs|\d+ jobs have (missing|outdated) provenance"
    # Messages of the executor for SLURM.
    r"|SLURM run ID|Cleaning up SLURM log|No SLURM account given|Guessed SLURM account"
    r"|No account was given|Unable to guess SLURM account|Falling back to 'sacct'"
)
EXCUSE = re.compile(r" ?Detailed failure reason unavailable.*")
SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+)")
# A message about a settings file that Snakemake cannot read, or a part of a traceback.
OF_CONFIGFILE = re.compile(r"Config file (is not|must|.* not found)|in load_configfile")
# A message that says less than the failed step's own error, which is shown.
ECHO_OF_A_FAILED_STEP = re.compile(
    r"RuleException:|.*\nAt least one job did not complete", re.DOTALL
)


@dataclass(frozen=True)
class Running:
    """A job that runs.

    Attributes:
        rule: Name of its rule.
        log: Path of the step's log; None for a target, which has none.
        log_before: What identifies the log of an earlier run, if one was there.
        start: Time of its start, in seconds of the monotonic clock.
    """

    rule: str
    log: str | None
    log_before: tuple[int, ...] | None
    start: float


class LogHandler(LogHandlerBase):
    """Shows steps, warnings and errors; leaves out Snakemake's own workings."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Prepare for a run."""
        self._plain = plain_log_handler(self.common_settings.nocolor)
        self._has_warned = False
        self._is_plain = (
            self.common_settings.verbose or self.common_settings.printshellcmds
        )
        self._on_terminal = sys.stderr.isatty()
        self._colored = self._on_terminal and not self.common_settings.nocolor
        self._running: dict[int, Running] = {}

    def emit(self, record: LogRecord) -> None:
        """Show one record of Snakemake's log, or leave it out."""
        try:
            self._show(record)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Say once that lines are missing because Snakemake's records have changed."""
        if self._has_warned:
            return
        self._has_warned = True
        # Only now: Snakemake loads this plugin before the workflow, which may be of
        # another checkout, and whose own library must be the one that is imported.
        from retune_snakemake.upgrades import explain_break

        reason = explain_break(error, ["snakemake"])
        print(f"some lines of this run are not shown: {reason}", file=sys.stderr)

    def _show(self, record: LogRecord) -> None:
        if is_of_configfile(record):
            record = in_own_words(record)
        if self._is_plain:
            self._plain.setFormatter(self.formatter)
            self._plain.emit(record)
            return
        for line in self._lines(record):
            print((WIPE_LINE if self._on_terminal else "") + line, file=sys.stderr)
        sys.stderr.flush()

    def _lines(self, record: LogRecord) -> Iterator[str]:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            log = next(iter(record.log), None)
            self._running[record.jobid] = Running(
                record.rule_name, log, identify(log, record.created), time.monotonic()
            )
        elif event == LogEvent.JOB_FINISHED:
            yield from self._finished(record.job_id)
        elif event == LogEvent.JOB_ERROR:
            yield from self._failed(record)
        elif event in (None, LogEvent.ERROR):
            yield from self._message(record)

    def _finished(self, jobid: int) -> Iterator[str]:
        job = self._running.pop(jobid, None)
        if job is None or job.log is None:
            return
        took = f"{time.monotonic() - job.start:.1f} s"
        last = (self._lines_of_log(job.log, job) or [""])[-1]
        result = last.removeprefix("done: ")
        yield f"{self._color('✓', GREEN)} {job.rule:<12} {took:>8}  {result}"

    def _failed(self, record: LogRecord) -> Iterator[str]:
        yield f"{self._color('✗', RED)} {record.rule_name:<12}   failed"
        # What the cluster says of its job, without the whole command.
        message = getattr(record, "rule_msg", None) or ""
        for line in message.split("\n    sbatch call:")[0].splitlines():
            yield f"    {EXCUSE.sub('', line)}"
        # The step's own; the others are the cluster's.
        log, *others = [str(log).split(" (")[0] for log in record.log] or [""]
        lines = self._lines_of_log(log, self._running.get(record.jobid))
        yield from (f"    {line}" for line in explain(lines))
        logs = [log, *others] if lines else others
        yield from (f"    log: {log}" for log in logs if Path(log).exists())

    def _lines_of_log(self, log: str, job: Running | None) -> list[str]:
        """Return what a job has written into a log; an earlier run's is not its own."""
        if job and job.log_before and job.log_before == identify(log):
            return []
        return read_lines(log)

    def _message(self, record: LogRecord) -> Iterator[str]:
        text = record.getMessage()
        if submitted := SUBMITTED.match(text):
            job = self._running.get(int(submitted[1]))
            rule = job.rule if job else "a step"
            text = f"  {rule:<12}   queued  SLURM job {submitted[2]}"
        if ROUTINE.match(text) or ECHO_OF_A_FAILED_STEP.match(text):
            return
        if text.startswith("Nothing to be done"):
            text = "Nothing to be done: everything asked for is there and up to date."
        yield without_origin(text) if record.levelno >= WARNING else text

    def _color(self, text: str, color: str) -> str:
        return f"{color}{text}{PLAIN}" if self._colored else text


def identify(path: str | None, before: float = math.inf) -> tuple[int, ...] | None:
    """Return numbers that change as soon as a file is written.

    Args:
        path: Path of a file.
        before: A time, in seconds; the result is None if the file was written later.
    """
    try:
        status = os.stat(path or "")
    except OSError:
        return None
    if status.st_mtime >= before:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_lines(path: str) -> list[str]:
    """Return the lines of a log that may not be there."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def explain(lines: list[str]) -> list[str]:
    """Return the error a failed step's log ends with, or else its last lines."""
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("error: "):
            return lines[number:]
    return lines[-LINES_OF_A_FAILED_LOG:]


def without_origin(text: str) -> str:
    """Return an error without the place in the Snakefile that raised it."""
    if not text.startswith("WorkflowError"):
        return text
    lines = [line for line in text.splitlines()[1:] if not line.startswith("  File ")]
    return "\n".join(lines) or text


def is_of_configfile(record: LogRecord) -> bool:
    """Return whether Snakemake could not read a file of `--configfile`."""
    return record.levelno >= ERROR and bool(OF_CONFIGFILE.search(record.getMessage()))


def in_own_words(record: LogRecord) -> LogRecord:
    """Return a record that says what is wrong with the files of `--configfile`."""
    from retune_start.configfiles import configfile_problems

    if not (problems := configfile_problems(sys.argv[1:])):
        return record
    return makeLogRecord({**vars(record), "msg": "\n".join(problems), "args": ()})
