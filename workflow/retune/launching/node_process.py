"""One node of a training on several: starts its ranks, follows them, ends them.

The launcher runs `python -m retune.launching.node_process` once on each node. Exit
codes: 0 if the ranks have done the last step, or have stopped and saved; 1 if one
failed, and then failure-nodeN.json says why.
"""

import argparse
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from retune.artifacts.run_spec import RunSpec
from retune.engines.swap_folders import remove_swap_files
from retune.errors import RetuneError, Stopped
from retune.launching import this_machine
from retune.launching.compiled_operators import build_ops
from retune.launching.control_file import ControlReader
from retune.launching.devices import check_devices
from retune.launching.liger import check_liger_kernel
from retune.supervision.failures import Failure, Fault, RankError
from retune.supervision.stopping import StopRequest
from retune.supervision.watched_progress import Silent

# Launcher -> the environment variable in which it numbers its processes.
NUMBER = {"srun": "SLURM_NODEID", "deepspeed": "RANK"}
# Seconds to wait for the record of the cause on another node, before the record of
# what resulted from it here is written.
WAIT_FOR_CAUSE_S = 10.0


def main() -> int:
    """Run this node's ranks; return the exit code."""
    options = parse_arguments()
    number = int(os.environ[NUMBER[options.started_by]])
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s node {number} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    if options.started_by == "deepspeed":
        # DeepSpeed shows one GPU to its one process, but the ranks share all of them.
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        run_ranks(options, number)
    except Stopped as stopped:
        return stopped.exit_code
    except RetuneError as error:
        failure = failure_of(error, number)
        if failure.fault == Fault.VICTIM:
            wait_for_cause(options.state)
        failure.write(options.state / f"failure-node{number}.json")
        return 1
    return 0


@dataclass(frozen=True)
class NodeArguments:
    """The values of the command line.

    Attributes:
        started_by: Name of the launcher.
        attempt: Name of this start of the training's nodes.
        rank0: HOST:PORT of rank 0.
        state: Folder of the run.
    """

    started_by: str
    attempt: str
    rank0: str
    state: Path


def parse_arguments() -> NodeArguments:
    """Return the values of the command line."""
    # DeepSpeed's launcher would take options with the names of its own for these.
    parser = argparse.ArgumentParser(prog="python -m retune.launching.node_process")
    parser.add_argument("--started-by", choices=NUMBER, required=True)
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--rank0", required=True, metavar="HOST:PORT")
    parser.add_argument("--state", type=Path, required=True)
    return NodeArguments(**vars(parser.parse_args()))


def run_ranks(options: NodeArguments, number: int) -> None:
    """Run this node's ranks to their end, then remove their swap files.

    Args:
        options: The values of the command line.
        number: Number of the node, from 0.
    """
    run = RunSpec.read(options.state)
    plan, here = run.plan, run.plan.ranks_per_node
    host, _, port = options.rank0.rpartition(":")
    with StopRequest() as stop:
        ControlReader(options.state, options.attempt, stop).start()
        check_devices(plan)
        check_liger_kernel(plan)
        build_ops(plan)
        try:
            with this_machine.started(
                this_machine.rank_command(options.state),
                plan.accelerator,
                plan.world_size,
                first=number * here,
                local_world_size=here,
                master=(host, int(port)),
            ) as ranks:
                timeout = run.settings.ddp_timeout
                this_machine.follow(ranks, options.state, Silent(), stop, timeout)
        finally:
            remove_swap_files(run, options.state.name)


def failure_of(error: RetuneError, number: int) -> Failure:
    """Return the failure that ended this node's ranks, or kept them from starting."""
    if isinstance(error, RankError):
        return error.failure
    return Failure(
        rank=0,
        time=time.time(),
        step=None,
        error=f"node {number}: {error}",
        is_explained=True,
        fault=Fault.OWN,
    )


def wait_for_cause(state: Path) -> None:
    """Wait until another node has recorded a failure, but not for long."""
    deadline = time.monotonic() + WAIT_FOR_CAUSE_S
    while time.monotonic() < deadline and not list(state.glob("failure-node*.json")):
        time.sleep(this_machine.POLL_S)


if __name__ == "__main__":
    sys.exit(main())
