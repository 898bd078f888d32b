"""Looks after a run's SLURM jobs where Snakemake's executor would wait for ever.

It takes a job that was preempted for one that SLURM will run again, which SLURM does
only where it is set up to; and a job that can never start for one that waits its turn.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

# Reasons for which a job stays in the queue without end: as sinfo and the accounts are
# now, it will never fit.
HOPELESS = {
    *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints"),
    *("AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit"),
    *("AssocMaxNodePerJobLimit", "QOSMaxNodePerJobLimit"),
    *("AssocMaxCpuPerJobLimit", "QOSMaxCpuPerJobLimit", "QOSMaxMemoryPerJob"),
    *("InvalidAccount", "InvalidQOS", "AccountNotAllowed", "QOSNotAllowed"),
    *("launch failed requeued held",),
}


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it."""

    number: str
    state: str
    reason: str
    comment: str

    @property
    def step(self) -> str:
        """The step it runs."""
        return self.comment.removeprefix("rule_")


class Watch(threading.Thread):
    """Looks at the jobs of one run every few seconds, as long as this process runs."""

    def __init__(
        self, run_id: str, interval: float, warn: Callable[[str], None]
    ) -> None:
        """Prepare to look.

        Args:
            run_id: The jobs' name.
            interval: Seconds between two looks.
            warn: Tells the user.
        """
        super().__init__(daemon=True)
        self._run_id = run_id
        self._interval = interval
        self._warn = warn
        self._hopeless: set[Job] = set()

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            time.sleep(self._interval)
            self.look()

    def look(self) -> None:
        """Look once."""
        jobs = read_jobs(self._run_id)
        for job in jobs:
            if job.state == "PREEMPTED":
                self._requeue(job)
        hopeless = {j for j in jobs if j.state == "PENDING" and j.reason in HOPELESS}
        # Seen twice: a job may show a reason for a moment while it is looked at.
        for job in hopeless & self._hopeless:
            self._cancel(job)
        self._hopeless = hopeless

    def _requeue(self, job: Job) -> None:
        if call("scontrol", "requeue", job.number) is not None:
            self._warn(
                f"{job.step}: SLURM job {job.number} was preempted; it is queued again"
            )
            return
        self._warn(
            f"{job.step}: SLURM job {job.number} was preempted, and SLURM does not"
            " queue it again; run the same command to go on"
        )
        # The executor would wait for it: Ctrl-C makes Snakemake cancel all and end.
        os.kill(os.getpid(), signal.SIGINT)

    def _cancel(self, job: Job) -> None:
        self._warn(
            f"{job.step}: SLURM job {job.number} can never start ({job.reason}); it is"
            " cancelled. Ask for less, or for another partition: profiles/README.md"
        )
        call("scancel", job.number)


def read_jobs(run_id: str) -> list[Job]:
    """Return the jobs of a run, also those that ended lately."""
    shown = call(
        *("squeue", "--noheader", "--states=all", "--name", run_id),
        *("--format", "%i|%T|%r|%k"),
    )
    return [Job(*line.split("|", 3)) for line in (shown or "").splitlines()]


def call(*command: str) -> str | None:
    """Return what a SLURM command prints, None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
