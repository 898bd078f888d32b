"""The SLURM job that this process belongs to: its nodes, and queueing it again.

SLURM's commands are asked, because Snakemake's executor removes all of SLURM's
environment variables but the number of the job.
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
# The environment variable that is set if a stopped job is to be queued again.
REQUEUE = "RETUNE_REQUEUE"
# A busy controller may refuse, or take long to answer.
ATTEMPTS, BETWEEN_ATTEMPTS_S, ANSWER_S = 5, 10.0, 60.0


@dataclass(frozen=True)
class Allocation:
    """The machines of a job.

    Attributes:
        nodes: Number of nodes.
        cpus_per_node: Number of CPUs on the node that has the fewest.
        address: Address of the first node, on which the batch script runs.
    """

    nodes: int
    cpus_per_node: int
    address: str


def is_job() -> bool:
    """Return whether this process belongs to a SLURM job."""
    return JOB in os.environ


def read_allocation() -> Allocation:
    """Return the machines of this job."""
    queued = call("squeue", "--noheader", "--jobs", os.environ[JOB], "-o", "%D|%C|%B")
    nodes, cpus, first = queued.split("|")
    job = call("scontrol", "show", "job", "--details", "--oneliner", os.environ[JOB])
    node = call("scontrol", "show", "node", "--oneliner", first)
    address = field(node, "NodeAddr") or first
    # Nodes may differ, and the CPUs that are listed of each may include threads of its
    # cores that the job does not get.
    least = min([int(cpus) // int(nodes), *cpus_of_nodes(job)])
    return Allocation(int(nodes), least, address)


def cpus_of_nodes(job: str) -> list[int]:
    """Return how many CPUs a job has on each of its nodes; empty if that is not shown.

    Args:
        job: The output of `scontrol show job --details`.
    """
    return [count_ids(ids) for ids in re.findall(r"\sCPU_IDs=([\d,-]+)", job)]


def count_ids(ids: str) -> int:
    """Return how many numbers there are in a list such as `0-3,8`."""
    ends = (numbers.partition("-")[::2] for numbers in ids.split(","))
    return sum(int(last or first) - int(first) + 1 for first, last in ends)


def srun_command(allocation: Allocation) -> list[str]:
    """Return the command that starts one process on each node of this job."""
    return [
        "srun",
        f"--nodes={allocation.nodes}",
        f"--ntasks={allocation.nodes}",
        "--ntasks-per-node=1",
        # By itself srun takes one CPU and, in some versions, no memory of the job.
        f"--cpus-per-task={allocation.cpus_per_node}",
        "--mem=0",
        "--kill-on-bad-exit=1",
    ]


def requeue() -> bool:
    """Queue this job again, unless somebody has cancelled it.

    Returns:
        Whether it is queued: not if this is no job, if that is not wanted, or if SLURM
        refuses.
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
    """Return whether a job runs, or ends only because another one takes its place.

    Args:
        job: The output of `scontrol show job`.
    """
    is_preempted = field(job, "PreemptTime") not in (None, "None")
    return field(job, "JobState") == "RUNNING" or is_preempted


def field(text: str, name: str) -> str | None:
    """Return a value of the NAME=VALUE pairs of scontrol's output, None without it."""
    found = re.search(rf"(?:^|\s){name}=(\S+)", text)
    return found and found[1]


def call(*command: str) -> str:
    """Return what a SLURM command prints; it is repeated some times if it fails.

    Raises:
        RetuneError: With what it printed the last time.
    """
    if shutil.which(command[0]) is None:
        raise RetuneError(f"SLURM's {command[0]} is not on the PATH")
    for _ in range(ATTEMPTS - 1):
        try:
            return call_once(*command)
        except RetuneError as error:
            log.warning("%s; trying again", error)
        time.sleep(BETWEEN_ATTEMPTS_S)
    return call_once(*command)


def call_once(*command: str) -> str:
    """Return what a SLURM command prints.

    Raises:
        RetuneError: With what it printed.
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
