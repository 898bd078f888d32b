"""The partitions of the cluster: what their nodes have, and what a job may ask for."""

import re
import subprocess
from dataclasses import dataclass

# Seconds to wait for SLURM's answer.
PATIENCE_S = 20.0
# Partition, whether it takes jobs, time limit, number of nodes, their CPUs, memory in
# MB and generic resources, nodes of a job.
FORMAT = "%R|%a|%l|%D|%c|%m|%G|%s"


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that have the same.

    Attributes:
        number: Number of nodes.
        cpus: CPUs of each.
        memory_mb: Main memory of each, MB.
        gpus: GPUs of each, by type; those without a type have an empty one.
    """

    number: int
    cpus: int
    memory_mb: int
    gpus: dict[str, int]

    def gpus_of(self, kind: str) -> int:
        """Return the number of GPUs of a type; empty: of any."""
        return self.gpus.get(kind, 0) if kind else sum(self.gpus.values())


@dataclass(frozen=True)
class Partition:
    """A partition.

    Attributes:
        name: Name of the partition.
        is_up: Whether it takes jobs.
        minutes: Longest time of a job, minutes; None: any.
        most_nodes: Most nodes of a job; None: all.
        nodes: Its nodes.
    """

    name: str
    is_up: bool
    minutes: float | None
    most_nodes: int | None
    nodes: tuple[Nodes, ...]


def read_partitions() -> dict[str, Partition] | None:
    """Return the partitions by name; None if SLURM does not answer."""
    command = ["sinfo", "--noheader", "--exact", "--all", "--format", FORMAT]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_partitions(done.stdout) if done.returncode == 0 else None


def parse_partitions(shown: str) -> dict[str, Partition]:
    """Return the partitions by name that sinfo shows in FORMAT, a line for like nodes.

    Nodes of different states have lines of their own.
    """
    partitions: dict[str, Partition] = {}
    for line in shown.splitlines():
        # `CLUSTER: name` goes before the lines where SLURM_CLUSTERS is set.
        if line.count("|") != FORMAT.count("|"):
            continue
        name, available, limit, number, cpus, memory, gres, sizes = line.split("|")
        nodes = Nodes(
            int(number), whole_number(cpus), whole_number(memory), gpus_in(gres)
        )
        before = partitions[name].nodes if name in partitions else ()
        most = sizes.rpartition("-")[2]
        partitions[name] = Partition(
            name,
            available.strip().startswith("up"),
            minutes_of(limit),
            int(most) if most.isdecimal() else None,
            (*before, nodes),
        )
    return partitions


def whole_number(text: str) -> int:
    """Return a number that sinfo may write with a `+` for `at least`."""
    return int(text.strip().rstrip("+"))


def gpus_in(gres: str) -> dict[str, int]:
    """Return the GPUs of a node by type, of its generic resources.

    Args:
        gres: Such as `gpu:a100:4(S:0-1),gpu:1g.5gb:7`, `gpu:2`, or `(null)`.
    """
    gpus: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = entry.strip().split(":")
        if name == "gpu" and rest and rest[-1].isdecimal():
            kind = rest[0] if len(rest) > 1 else ""
            gpus[kind] = gpus.get(kind, 0) + int(rest[-1])
    return gpus


def minutes_of(limit: str) -> float | None:
    """Return a time limit of SLURM in minutes; None if there is none.

    Args:
        limit: `days-hours:minutes:seconds`, of which sinfo leaves out zeros in front,
            `infinite` or `n/a`.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 24 * 60 * days + 60 * hours + minutes + seconds / 60
