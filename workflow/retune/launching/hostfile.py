"""Several machines without a scheduler: DeepSpeed's hostfile and launcher."""

import os
import re
import sys
from pathlib import Path

from retune.errors import RetuneError

# The environment variable that names the hostfile of a training on several machines.
HOSTFILE = "RETUNE_HOSTFILE"

LINE = re.compile(r"(?P<host>\S+)\s+slots=(?P<slots>\d+)$")


def named_hostfile() -> Path | None:
    """Return the hostfile that the environment names."""
    name = os.environ.get(HOSTFILE)
    return Path(name) if name else None


def read_hosts(path: Path, nodes: int, ranks_per_node: int) -> list[str]:
    """Return the first hosts of a hostfile, which has a line `HOST slots=N` for each.

    Args:
        path: The hostfile.
        nodes: Number of hosts to return.
        ranks_per_node: Number of slots that each of them needs.

    Raises:
        RetuneError: If there are fewer hosts, or with fewer slots, or if a line says
            something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RetuneError(f"{HOSTFILE}: {path} does not exist") from None
    # DeepSpeed, too, ignores what follows a `#`.
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    hosts: list[str] = []
    for number, line in enumerate(filter(None, lines), start=1):
        match = LINE.match(line)
        if not match:
            raise RetuneError(f"{path}: entry {number} is {line!r}, not HOST slots=N")
        if number <= nodes and int(match["slots"]) < ranks_per_node:
            raise RetuneError(
                f"{path}: {match['host']} has {match['slots']} slots,"
                f" hardware.ranks_per_node is {ranks_per_node}"
            )
        if match["host"] in hosts:
            raise RetuneError(f"{path}: {match['host']} is named twice")
        hosts.append(match["host"])
    if len(hosts) < nodes:
        raise RetuneError(f"{path}: {len(hosts)} hosts, hardware.nodes is {nodes}")
    return hosts[:nodes]


def deepspeed_command(path: Path, nodes: int, host: str, port: int) -> list[str]:
    """Return the command that starts one process on each of the first nodes.

    A Python module and its arguments are to follow.

    Args:
        path: The hostfile.
        nodes: Number of hosts of it to start on.
        host: Address of rank 0.
        port: Port of rank 0.
    """
    return [
        *[sys.executable, "-m", "deepspeed.launcher.runner"],
        *["--hostfile", str(path), "--num_nodes", str(nodes)],
        # DeepSpeed starts one process on each node, and that starts the ranks.
        *["--num_gpus", "1"],
        *["--master_addr", host, "--master_port", str(port)],
        # DeepSpeed's own check ignores the ssh options that pdsh is given; pdsh itself
        # says which host it cannot reach.
        *["--no_ssh_check", "--no_local_rank"],
        "--module",
    ]
