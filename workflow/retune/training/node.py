"""One node of a training on several: starts its ranks, follows them, ends them.

The launcher runs `python -m retune.training.node` once on each. Exit codes: 0 the ranks
have done the last step, or stopped and saved; 1 one failed, see failure-nodeN.json.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from retune.errors import RetuneError, Stopped
from retune.publishing import read_json, write_json
from retune.settings import FinetuneSettings
from retune.training import launch
from retune.training.control import ControlReader
from retune.training.devices import check_devices
from retune.training.failures import Failure, Fault, RankError
from retune.training.nodes import TRAINING
from retune.training.ops import build_ops
from retune.training.stopping import StopRequest
from retune.training.swap_folders import remove_swap_files
from retune.training.watched_progress import Silent

# By which variable a launcher tells its processes apart.
NUMBER = {"srun": "SLURM_NODEID", "deepspeed": "RANK"}
# How long to wait for the cause on another node, before telling of its result here.
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
        # It shows its one process one GPU; the ranks share them all.
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        run_ranks(options, number)
    except Stopped as stopped:
        return stopped.exit_code
    except RetuneError as error:
        failure = failure_of(error, number)
        if failure.fault == Fault.VICTIM:
            wait_for_cause(options.state)
        write_json(options.state / f"failure-node{number}.json", vars(failure))
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    # Other names than those of DeepSpeed's launcher, which takes these for its own.
    parser = argparse.ArgumentParser(prog="python -m retune.training.node")
    parser.add_argument("--started-by", choices=NUMBER, required=True)
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--rank0", required=True, metavar="HOST:PORT")
    parser.add_argument("--state", type=Path, required=True)
    return parser.parse_args()


def run_ranks(options: argparse.Namespace, number: int) -> None:
    """Run this node's ranks to their end; leave nothing on its disk."""
    training = read_json(options.state / TRAINING)
    settings = FinetuneSettings(**training["settings"])
    base, tokens, plan = (Path(training[name]) for name in ("base", "tokens", "plan"))
    facts: dict[str, Any] = read_json(plan / "plan.json")
    here = facts["hardware"]["gpus_per_node"]
    host, _, port = options.rank0.rpartition(":")
    with StopRequest() as stop:
        ControlReader(options.state, options.attempt, stop).start()
        check_devices(facts)
        build_ops(facts)
        try:
            with launch.started(
                launch.rank_command(settings, base, tokens, plan, options.state),
                facts["hardware"]["accelerator"],
                facts["world_size"],
                first=number * here,
                local_world_size=here,
                master=(host, int(port)),
            ) as ranks:
                timeout = settings.ddp_timeout
                launch.follow(ranks, options.state, Silent(), stop, timeout)
        finally:
            config = read_json(plan / "deepspeed.json")
            remove_swap_files(config, options.state.name)


def failure_of(error: RetuneError, number: int) -> Failure:
    """Return what ended this node's ranks, or kept them from beginning."""
    if isinstance(error, RankError):
        return error.failure
    told = f"node {number}: {error}"
    return Failure(0, time.time(), None, told, mendable=True, fault=Fault.OWN)


def wait_for_cause(state: Path) -> None:
    """Wait until another node has told why its ranks failed, but not for long."""
    deadline = time.monotonic() + WAIT_FOR_CAUSE_S
    while time.monotonic() < deadline and not list(state.glob("failure-node*.json")):
        time.sleep(launch.POLL_S)


if __name__ == "__main__":
    sys.exit(main())
