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
from uuid import uuid4

from retune.artifacts.plan import Plan
from retune.errors import RetuneError, ended_at_once
from retune.launching import slurm
from retune.launching.control_file import Control
from retune.launching.hostfile import (
    HOSTFILE,
    deepspeed_command,
    named_hostfile,
    read_hosts,
)
from retune.launching.this_machine import LAST_WORDS_S, POLL_S, free_port
from retune.supervision.failures import Failure, Fault, RankError, first_failure
from retune.supervision.stopping import StopRequest
from retune.supervision.watched_progress import Progress
from retune.terminal.log_lines import log_lines, pass_on_output

log = logging.getLogger(__name__)

# Seconds that the nodes may take to end once one has failed, or is to leave at once.
END_S = 60.0


@dataclass(frozen=True)
class Launcher:
    """What starts a process on each node.

    Attributes:
        name: `srun` or `deepspeed`.
        command: Its command line, which the name of a Python module is to follow.
        master: HOST:PORT of rank 0.
    """

    name: str
    command: list[str]
    master: str


def find_launcher(nodes: int, ranks_per_node: int) -> Launcher:
    """Return the launcher of this SLURM job, or of the hostfile that is named.

    Args:
        nodes: Number of nodes of the plan.
        ranks_per_node: Number of ranks on each.

    Raises:
        RetuneError: If there is neither, or it has another number of nodes.
    """
    if hostfile := named_hostfile():
        hosts = read_hosts(hostfile, nodes, ranks_per_node)
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
    """Return address and port of rank 0, which runs on this machine.

    MASTER_ADDR and MASTER_PORT of the environment take precedence, because a cluster
    may have another network for the ranks.

    Args:
        host: Address of this machine.
    """
    port = os.environ.get("MASTER_PORT")
    return os.environ.get("MASTER_ADDR", host), int(port) if port else free_port()


def run_nodes(plan: Plan, state: Path, progress: Progress, stop: StopRequest) -> None:
    """Run the ranks of all nodes until they have done the last step, or have saved.

    Args:
        plan: The plan of the training.
        state: Folder of the run, in which its RunSpec is.
        progress: What shows how far they are.
        stop: Requests to stop; a first signal has the ranks save and end, a second ends
            them at once.

    Raises:
        RetuneError: With the failure that came first.
        Stopped: On a second signal.
    """
    launcher = find_launcher(plan.nodes, plan.ranks_per_node)
    attempt = uuid4().hex
    command = [
        *[
            *launcher.command,
            "retune.launching.node_process",
            "--started-by",
            launcher.name,
        ],
        *["--attempt", attempt, "--rank0", launcher.master, "--state", str(state)],
    ]
    log.info("%s on %d nodes: %s", launcher.name, plan.nodes, launcher.master)
    control = Control(state, attempt)
    control.write(0)
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
        raise cause_of_failure(state, plan.nodes, launcher.name, process.returncode)


def follow(
    process: subprocess.Popen,
    state: Path,
    control: Control,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Wait until the nodes have ended, or should have ended.

    Args:
        process: The launcher.
        state: Folder of the run.
        control: What passes requests to stop on to the nodes.
        progress: What shows how far the ranks are.
        stop: Requests to stop.
    """
    deadline = None
    while process.poll() is None:
        control.write(len(stop.received))
        if deadline is None and (len(stop.received) > 1 or failed_nodes(state)):
            deadline = time.monotonic() + END_S
        if deadline and time.monotonic() > deadline:
            return
        progress.show(state)
        time.sleep(POLL_S)


def end(process: subprocess.Popen, control: Control) -> None:
    """Have the nodes leave at once, if they have not; then end the launcher.

    A launcher that has failed, as by a lost connection, may have left nodes behind.
    """
    if process.poll() == 0:
        return
    control.write(2)
    deadline = time.monotonic() + END_S / 2
    while process.poll() is None and time.monotonic() < deadline:
        control.write(2)
        time.sleep(POLL_S)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def failed_nodes(state: Path) -> list[Path]:
    """Return the records that nodes have left of their failures."""
    return sorted(state.glob("failure-node*.json"))


def cause_of_failure(state: Path, nodes: int, launcher: str, code: int) -> RetuneError:
    """Return the error of the failure that caused the others, by the nodes' records.

    Args:
        state: Folder of the run.
        nodes: Number of nodes.
        launcher: Name of the launcher.
        code: Exit code of the launcher.
    """
    failures = [Failure.read(path) for path in failed_nodes(state)]
    if failures:
        first = first_failure(failures)
        if first.fault == Fault.OWN or len(failures) == nodes:
            return RankError(first)
    return RetuneError(
        f"a node ended without a word ({launcher} ended with {code}; the log may say"
        " why): it crashed, was taken away or ran out of memory. The checkpoints stay:"
        " the next run resumes"
    )
