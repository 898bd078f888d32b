"""What a SLURM job says of itself, from within.

SLURM's own variables cannot be relied on: Snakemake's executor removes all but the
number of the job. So SLURM is asked.
"""

import logging
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass

from retune.errors import RetuneError

log = logging.getLogger(__name__)

JOB = "SLURM_JOB_ID"
# Set where a job that was stopped is to be queued again.
REQUEUE = "RETUNE_REQUEUE"
# A busy controller does not answer at once.
TRIES, BETWEEN_TRIES_S, ANSWER_S = 5, 10.0, 60.0


@dataclass(frozen=True)
class Allocation:
    """What a job was given.

    Args:
        nodes: Number of its nodes.
        cpus_per_node: CPUs on that which has the fewest.
        address: By which SLURM reaches the first one, where the batch script runs.
    """

    nodes: int
    cpus_per_node: int
    address: str


def is_job() -> bool:
    """Return whether this process belongs to a SLURM job."""
    return JOB in os.environ


def read_allocation() -> Allocation:
    """Return what this job was given."""
    queued = call("squeue", "--noheader", "--jobs", os.environ[JOB], "-o", "%D|%C|%B")
    nodes, cpus, first = queued.split("|")
    job = call("scontrol", "show", "job", "--details", "--oneliner", os.environ[JOB])
    node = call("scontrol", "show", "node", "--oneliner", first)
    address = field(node, "NodeAddr") or first
    # Nodes may differ. What is shown of each may count threads that it does not get.
    least = min([int(cpus) // int(nodes), *cpus_of_nodes(job)])
    return Allocation(int(nodes), least, address)


def cpus_of_nodes(job: str) -> list[int]:
    """Return how many CPUs a job has on its nodes; nothing if that is not said.

    Args:
        job: What `scontrol show job --details` says of it.
    """
    return [count_ids(ids) for ids in re.findall(r"\sCPU_IDs=([\d,-]+)", job)]


def count_ids(ids: str) -> int:
    """Return how many numbers there are in `0-3,8`."""
    ends = (part.partition("-")[::2] for part in ids.split(","))
    return sum(int(last or first) - int(first) + 1 for first, last in ends)


def srun_command(allocation: Allocation) -> list[str]:
    """Return the command that starts one process on each node of this job."""
    return [
        "srun",
        f"--nodes={allocation.nodes}",
        f"--ntasks={allocation.nodes}",
        "--ntasks-per-node=1",
        # srun takes neither from the job: one CPU, and in some versions no memory.
        f"--cpus-per-task={allocation.cpus_per_node}",
        "--mem=0",
        "--kill-on-bad-exit=1",
    ]


def requeue() -> bool:
    """Have this job run again, unless somebody has cancelled it.

    Returns:
        False if it does not: this is no job, it is not wanted, or SLURM refuses.
    """
    if not is_job() or not os.environ.get(REQUEUE):
        return False
    try:
        if not goes_on(call("scontrol", "show", "job", "--oneliner", os.environ[JOB])):
            return False
        call("scontrol", "requeue", os.environ[JOB])
    except RetuneError:
        return False
    return True


def goes_on(job: str) -> bool:
    """Return whether a job runs, or ends only since another one takes its place.

    Args:
        job: What `scontrol show job` says of it.
    """
    is_preempted = field(job, "PreemptTime") not in (None, "None")
    return field(job, "JobState") == "RUNNING" or is_preempted


def field(text: str, name: str) -> str | None:
    """Return a value of scontrol's NAME=VALUE lines."""
    found = re.search(rf"(?:^|\s){name}=(\S+)", text)
    return found and found[1]


def call(*command: str) -> str:
    """Return what a SLURM command prints, after some tries if need be.

    Raises:
        RetuneError: With its own words, those of the last try.
    """
    if shutil.which(command[0]) is None:
        raise RetuneError(f"SLURM's {command[0]} is not on the PATH")
    for _ in range(TRIES - 1):
        try:
            return call_once(*command)
        except RetuneError as error:
            log.warning("%s; trying again", error)
        time.sleep(BETWEEN_TRIES_S)
    return call_once(*command)


def call_once(*command: str) -> str:
    """Return what a SLURM command prints.

    Raises:
        RetuneError: With its own words.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=ANSWER_S
        )
    except subprocess.TimeoutExpired:
        raise RetuneError(
            f"{' '.join(command)}: no answer in {ANSWER_S:.0f} s"
        ) from None
    if done.returncode:
        raise RetuneError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()
