"""Whether the cluster can ever start a job that sbatch is asked for."""

import math
import shlex
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping

from retune.quantities import counted
from retune_slurm.partitions import PATIENCE_S, Nodes, Partition


def request_problems(request: str, partitions: Mapping[str, Partition]) -> list[str]:
    """Return why no partition can ever start a job, in words after the job's name.

    Args:
        request: The options of sbatch for the job.
        partitions: The partitions of the cluster by name.
    """
    asked = parse_request(request)
    if not asked.partition:
        return []
    names = asked.partition.split(",")
    if unknown := [name for name in names if name not in partitions]:
        return [
            f"slurm_partition: {', '.join(unknown)}: there is no such partition; there"
            f" are: {', '.join(partitions) or 'none'}"
        ]
    problems = [partition_problems(asked, partitions[name]) for name in names]
    # One partition that can start it is enough.
    return [] if [] in problems else [line for lines in problems for line in lines]


def partition_problems(asked: Namespace, partition: Partition) -> list[str]:
    """Return why a partition can never start a job."""
    problems = []
    name, most = partition.name, partition.minutes
    if asked.time and most is not None and asked.time > most:
        problems.append(
            f"runtime: {asked.time} minutes, but partition {name} allows {most:g}"
        )
    if partition.most_nodes is not None and asked.nodes > partition.most_nodes:
        problems.append(
            f"hardware.nodes: {asked.nodes}, but partition {name} allows"
            f" {partition.most_nodes} for a job"
        )
    return problems or node_problems(asked, partition)


def node_problems(asked: Namespace, partition: Partition) -> list[str]:
    """Return what of a job the nodes of a partition do not have."""
    kind, gpus = gpus_of(asked.gres)
    cpus = math.ceil(asked.ntasks / asked.nodes) * asked.cpus_per_task
    wanted: dict[str, Callable[[Nodes], bool]] = {
        f"gres: {asked.gres}": lambda nodes: nodes.gpus_of(kind) >= gpus,
        f"mem_mb: {asked.mem}": lambda nodes: nodes.memory_mb >= asked.mem,
        f"cpus_per_task: {asked.cpus_per_task}": lambda nodes: nodes.cpus >= cpus,
    }

    def count(*fits: Callable[[Nodes], bool]) -> int:
        return sum(
            nodes.number
            for nodes in partition.nodes
            if all(each(nodes) for each in fits)
        )

    if count(*wanted.values()) >= asked.nodes:
        return []
    lacking = {
        text: count(fits) for text, fits in wanted.items() if count(fits) < asked.nodes
    }
    together = {" with ".join(wanted): count(*wanted.values())}
    best = [most_of(partition.nodes, name) for name in ("gpus", "memory_mb", "cpus")]
    return [
        f"{text} on {counted(asked.nodes, 'node')}, but partition {partition.name} has"
        f" {number} with that; the most that one has: {best[0]} GPUs, {best[1]:,} MB,"
        f" {best[2]} CPUs"
        for text, number in (lacking or together).items()
    ]


def most_of(nodes: tuple[Nodes, ...], name: str) -> int:
    """Return the most that any of the nodes has of GPUs, memory or CPUs."""
    return max(
        (
            sum(each.gpus.values()) if name == "gpus" else int(getattr(each, name))
            for each in nodes
        ),
        default=0,
    )


def gpus_of(gres: str) -> tuple[str, int]:
    """Return the type, empty for any, and the number of GPUs on each node.

    Args:
        gres: Such as `gpu:a100:8`, `gpu:8` or `gpu`; empty: none.
    """
    name, *rest = gres.split(":")
    if name != "gpu":
        return "", 0
    number = int(rest[-1]) if rest and rest[-1].isdecimal() else 1
    return (rest[0] if rest and not rest[0].isdecimal() else ""), number


def parse_request(request: str) -> Namespace:
    """Return what the options of sbatch ask for; other options are left out.

    Args:
        request: The options, time in minutes and memory in MB.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-p", "--partition", default="")
    parser.add_argument("-t", "--time", type=int, default=0)
    parser.add_argument("--mem", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--ntasks", type=int, default=1)
    parser.add_argument("--cpus-per-task", type=int, default=1)
    parser.add_argument("--gres", default="")
    return parser.parse_known_args(shlex.split(request))[0]


def refusal(request: str) -> str | None:
    """Return why SLURM would refuse a job, in its own words; None if it would not.

    No job is submitted. SLURM looks at account, QOS and features, too, but not at the
    time limit of a partition.

    Args:
        request: The options of sbatch for the job.
    """
    command = ["sbatch", "--test-only", *shlex.split(request), "--wrap", "true"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    words = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines]
    return "; ".join(words) or "it does not say why"
