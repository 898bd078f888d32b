"""Looks after a run's SLURM jobs where Snakemake's executor would wait for ever.

The executor takes a job that was preempted for one that SLURM will run again, which
SLURM does only where it is set up to. It takes a job that can never start for one that
waits its turn. And it does not know every end: not `CANCELLED by 1000`, as sacct says,
and not that of a job which SLURM has forgotten.
"""

import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from retune_slurm.executor_internals import ExecutorJobs
from retune_snakemake.upgrades import Upgrades

# Reasons for which a job stays in the queue without end: with the partitions and
# accounts as they are now it will never fit. Limits of a user or a group pass, since
# others' jobs end.
HOPELESS = re.compile(
    r"(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?|QOSMin\w+|MaxMemPerLimit"
    r"|PartitionTimeLimit|PartitionNodeLimit|PartitionConfig|BadConstraints"
    r"|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed"
    r"|DependencyNeverSatisfied|ReservationDeleted|JobHoldMaxRequeue"
    r"|launch failed requeued held|launch failure limit exceeded requeued held"
    r"|user env retrieval failed requeued held"
)
ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "TIMEOUT"),
}
# States in which a job may have done its work by now.
MAY_BE_DONE = {"COMPLETED", "COMPLETING", "RUNNING"}
# After so many of our checks the executor should have seen an end itself, and a job
# that SLURM does not show has been forgotten; but never before LEAST_S seconds.
CHECKS_TO_SEE_AN_END, CHECKS_TO_MISS_A_JOB, LEAST_S = 3, 10, 30.0
# After so many refusals in a row SLURM means it.
REFUSALS = 5
# Seconds after which a command of SLURM is given up.
CALL_S = 60.0


@dataclass(frozen=True)
class Job:
    """A job as squeue shows it.

    Attributes:
        number: SLURM's number of the job.
        state: State of the job, such as `PENDING`.
        reason: Why it is in this state, in SLURM's words.
        comment: `rule_` and the name of the rule, which the executor wrote.
    """

    number: str
    state: str
    reason: str
    comment: str

    @property
    def step(self) -> str:
        """The step that the job runs."""
        return self.comment.removeprefix("rule_")

    @property
    def is_hopeless(self) -> bool:
        """Whether the job can never start."""
        # Some versions write these reasons as one word.
        reason = self.reason.replace("_", " ")
        return self.state == "PENDING" and bool(HOPELESS.fullmatch(reason))


class Watch(threading.Thread):
    """Checks the jobs of one run every few seconds, as long as this process runs."""

    def __init__(
        self, waited_for: ExecutorJobs, interval: float, warn: Callable[[str], None]
    ) -> None:
        """Prepare to check.

        Args:
            waited_for: The jobs of the run.
            interval: Seconds between two checks.
            warn: Function that shows a line to the user.
        """
        super().__init__(daemon=True)
        self._waited_for = waited_for
        self._interval = interval
        self._warn = warn
        self._upgrades = Upgrades(warn)
        self._hopeless: set[Job] = set()
        self._warnings: set[str] = set()
        self._refusals: Counter[str] = Counter()
        self._shown_last: dict[str, Job] = {}
        self._over_since: dict[str, float] = {}

    def run(self) -> None:
        """Check again and again until the process ends."""
        tools = ("snakemake", "snakemake-executor-plugin-slurm")
        while True:
            time.sleep(self._interval)
            self._upgrades.attempt(
                "SLURM jobs could not be looked at", tools, self.check, None
            )

    def check(self) -> None:
        """Check all jobs once."""
        self._waited_for.keep_interval()
        jobs = read_jobs(self._waited_for.run_id)
        if jobs is None:
            return
        numbers = self._waited_for.numbers()
        waiting = [job for job in jobs if job.number in numbers]
        preempted = {job for job in waiting if job.state == "PREEMPTED"}
        for job in preempted:
            self._requeue(job)
        for number in set(self._refusals) - {job.number for job in preempted}:
            del self._refusals[number]
        hopeless = {job for job in waiting if job.is_hopeless}
        # Seen twice: a job may show a reason for a moment while SLURM considers it.
        for job in hopeless & self._hopeless:
            self._cancel(job)
        self._hopeless = hopeless
        self._end_what_is_over({job.number: job for job in jobs})

    def _requeue(self, job: Job) -> None:
        if call("scontrol", "requeue", job.number) is not None:
            self._warn(
                f"{job.step}: SLURM job {job.number} was preempted; it is queued again"
            )
            return
        self._refusals[job.number] += 1
        if self._refusals[job.number] >= REFUSALS:
            self._fail(job, "was preempted, and SLURM does not queue it again")

    def _cancel(self, job: Job) -> None:
        self._warn_once(
            f"{job.step}: SLURM job {job.number} can never start ({job.reason}); it is"
            " cancelled. Ask for less, or for another partition: profiles/README.md"
        )
        if call("scancel", job.number) is not None:
            self._fail(job, f"can never start ({job.reason})")

    def _end_what_is_over(self, shown: dict[str, Job]) -> None:
        """Tell Snakemake of jobs that it waits for although they are over.

        Args:
            shown: All jobs that squeue shows, by their numbers.
        """
        self._shown_last |= shown
        now = time.monotonic()
        for number in self._waited_for.numbers() & set(self._shown_last):
            job = shown.get(number)
            if job and job.state not in ENDED:
                self._over_since.pop(number, None)
                continue
            since = self._over_since.setdefault(number, now)
            checks = CHECKS_TO_SEE_AN_END if job else CHECKS_TO_MISS_A_JOB
            if now - since >= max(LEAST_S, checks * self._interval):
                self._end(self._shown_last[number], is_forgotten=not job)

    def _end(self, job: Job, is_forgotten: bool) -> None:
        if not is_forgotten and job.state != "COMPLETED":
            self._fail(job, f"is {job.state}")
        elif job.state not in MAY_BE_DONE:
            self._fail(job, f"is not in the queue any more; it was {job.state}")
        elif self._waited_for.succeed(job.number):
            self._warn(
                f"{job.step}: SLURM job {job.number} is over, which Snakemake did not"
                " see; its outputs are looked for"
            )

    def _fail(self, job: Job, what: str) -> None:
        self._waited_for.fail(job.number, f"SLURM job {job.number} {what}")

    def _warn_once(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.add(text)
            self._warn(text)


def read_jobs(run_id: str) -> list[Job] | None:
    """Return the jobs of a run, also those that ended lately; None if it fails."""
    shown = call(
        *("squeue", "--noheader", "--states=all", "--name", run_id),
        *("--format", "%i|%T|%r|%k"),
    )
    if shown is None:
        return None
    lines = (line.split("|", 3) for line in shown.splitlines())
    # `CLUSTER: name` goes before the jobs where SLURM_CLUSTERS is set.
    return [Job(*fields) for fields in lines if len(fields) == 4]


def call(*command: str) -> str | None:
    """Return what a SLURM command prints, None if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=CALL_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
