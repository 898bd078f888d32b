"""A training on several machines: start a `node` on each, follow them, end them.

SLURM's srun starts them in a job, DeepSpeed's launcher on the hosts of a hostfile.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from retune.errors import RetuneError, ended_at_once
from retune.log_lines import log_lines, pass_on_output
from retune.publishing import read_json, write_json
from retune.settings import FinetuneSettings
from retune.training import slurm
from retune.training.control import Control
from retune.training.failures import Failure, Fault, RankError, first_failure
from retune.training.hostfile import (
    HOSTFILE,
    deepspeed_command,
    named_hostfile,
    read_hosts,
)
from retune.training.launch import LAST_WORDS_S, POLL_S, free_port
from retune.training.stopping import StopRequest
from retune.training.watched_progress import Progress

log = logging.getLogger(__name__)

# What the nodes are to train. A file: DeepSpeed's launcher hands arguments to a shell.
TRAINING = "training.json"
# How long the nodes may take to end once one has failed, or was told to leave at once.
END_S = 60.0


@dataclass(frozen=True)
class Launcher:
    """What starts a process on each node.

    Args:
        name: `srun` or `deepspeed`.
        command: Its command line; the process's own follows.
        master: HOST:PORT of rank 0.
    """

    name: str
    command: list[str]
    master: str


def find_launcher(nodes: int, gpus_per_node: int) -> Launcher:
    """Return the launcher of this SLURM job, or of the hostfile that is named.

    Raises:
        RetuneError: If there is neither, or for another number of nodes.
    """
    if hostfile := named_hostfile():
        hosts = read_hosts(hostfile, nodes, gpus_per_node)
        host, port = choose_master(hosts[0])
        command = deepspeed_command(hostfile, nodes, host, port)
        return Launcher("deepspeed", command, f"{host}:{port}")
    if not slurm.is_job():
        raise RetuneError(
            f"hardware.nodes: {nodes}, but this is no SLURM job (snakemake"
            " --workflow-profile profiles/slurm train makes it one), and"
            f" {HOSTFILE} names no hostfile"
        )
    allocation = slurm.read_allocation()
    if allocation.nodes != nodes:
        raise RetuneError(
            f"hardware.nodes: {nodes}, but this SLURM job has {allocation.nodes}"
        )
    host, port = choose_master(allocation.address)
    command = [*slurm.srun_command(allocation), sys.executable, "-m"]
    return Launcher("srun", command, f"{host}:{port}")


def choose_master(host: str) -> tuple[str, int]:
    """Return address and port of rank 0, which runs beside this process.

    MASTER_ADDR and MASTER_PORT go first: a cluster may have another network for it.
    """
    port = os.environ.get("MASTER_PORT")
    return os.environ.get("MASTER_ADDR", host), int(port) if port else free_port()


def run_nodes(
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan: Path,
    state: Path,
    facts: dict[str, Any],
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Run the ranks of all nodes until they have done the last step, or have saved.

    Raises:
        RetuneError: With the failure that came first.
        Stopped: On a second signal.
    """
    hardware = facts["hardware"]
    launcher = find_launcher(hardware["nodes"], hardware["gpus_per_node"])
    write_json(
        state / TRAINING,
        {
            "settings": settings.model_dump(mode="json"),
            **{"base": str(base), "tokens": str(tokens), "plan": str(plan)},
        },
    )
    attempt = uuid4().hex
    command = [
        *[*launcher.command, "retune.training.node", "--started-by", launcher.name],
        *["--attempt", attempt, "--rank0", launcher.master, "--state", str(state)],
    ]
    log.info("%s on %d nodes: %s", launcher.name, hardware["nodes"], launcher.master)
    control = Control(state, attempt)
    control.tell(0)
    with log_lines() as lines:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        output = pass_on_output(process, lines)
        try:
            follow(process, state, control, progress, stop)
        finally:
            end(process, control)
            output.join(LAST_WORDS_S)
    if len(stop.received) > 1:
        raise ended_at_once(stop.received[-1])
    if process.returncode or failed_nodes(state):
        raise why(state, hardware["nodes"], launcher.name, process.returncode)


def follow(
    process: subprocess.Popen,
    state: Path,
    control: Control,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Wait until the nodes have ended, or should have."""
    deadline = None
    while process.poll() is None:
        control.tell(len(stop.received))
        if deadline is None and (len(stop.received) > 1 or failed_nodes(state)):
            deadline = time.monotonic() + END_S
        if deadline and time.monotonic() > deadline:
            return
        progress.show(state)
        time.sleep(POLL_S)


def end(process: subprocess.Popen, control: Control) -> None:
    """Have the nodes leave at once, if they have not; then end the launcher.

    One that has failed may have left nodes behind, as by a lost connection.
    """
    if process.poll() == 0:
        return
    control.tell(2)
    deadline = time.monotonic() + END_S / 2
    while process.poll() is None and time.monotonic() < deadline:
        control.tell(2)
        time.sleep(POLL_S)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def failed_nodes(state: Path) -> list[Path]:
    """Return what nodes have left of their failures."""
    return sorted(state.glob("failure-node*.json"))


def why(state: Path, nodes: int, launcher: str, code: int) -> RetuneError:
    """Return the failure that came first, of those that the nodes have told."""
    records = [read_json(path) for path in failed_nodes(state)]
    failures = [
        Failure(**{**record, "fault": Fault(record["fault"])}) for record in records
    ]
    if failures:
        first = first_failure(failures)
        if first.fault == Fault.OWN or len(failures) == nodes:
            return RankError(first)
    return RetuneError(
        f"a node ended without a word ({launcher} ended with {code}; the log may say"
        " why): it crashed, was taken away or ran out of memory. The checkpoints stay:"
        " the next run resumes"
    )
