"""One rank of a training run: what `launch` or any other launcher starts.

`python -m retune.training.rank STATE`, with RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR
and MASTER_PORT in the environment, as torchrun sets them. STATE is the folder of the
training's checkpoints, in which run.json says what to train. Exit codes: 0 if the last
step is done; 75 if it stopped on a signal and saved; 1 if it failed, and then
failure-rankN.json says why.
"""

import argparse
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from retune.artifacts.run_spec import RunSpec
from retune.imports import without_garbage_collection
from retune.supervision.failures import record_failure
from retune.supervision.heartbeat import Heartbeat
from retune.supervision.out_of_memory import explain, is_out_of_memory, memory_in_use
from retune.supervision.stopping import StopRequest, ignore_stop_requests, leave_at_once

# Names the process of the step that started a rank; the rank ends when it ends.
STEP_PID = "RETUNE_STEP_PID"
# Asks a rank to write the Python stack of each of its threads into its `stack_file`.
DUMP_STACK = signal.SIGUSR2
# A rank's first phase; the training loop names the others.
IMPORTING = "importing"

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> int:
    """Train; return the exit code."""
    state = parse_arguments().state
    rank = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)s rank {rank} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    end_with_the_step()
    faulthandler.enable()
    stop = StopRequest(at_second=leave_at_once)
    stop.listen()
    with stack_file(state, rank).open("w") as stack:
        faulthandler.register(DUMP_STACK, stack)
        heartbeat = Heartbeat(state, rank)
        heartbeat.beat(0, IMPORTING)
        finished = train_or_leave(state, rank, stop, heartbeat)
        ignore_stop_requests()
    return 0 if finished else os.EX_TEMPFAIL


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(prog="python -m retune.training.rank")
    parser.add_argument("state", type=Path, help="folder of the training")
    return parser.parse_args()


def stack_file(state: Path, rank: int) -> Path:
    """Return where a rank writes its stack when asked."""
    return state / f"stack-rank{rank}"


def train_or_leave(
    state: Path, rank: int, stop: StopRequest, heartbeat: Heartbeat
) -> bool:
    """Train; after an error record it and end this process.

    Returns:
        Whether the last step is done.
    """
    run = RunSpec.read(state)
    in_use_before = 0.0
    try:
        # This takes seconds, so signals are listened to before.
        with without_garbage_collection():
            import torch.distributed

            from retune.training.loop import train

        in_use_before = memory_in_use()
        finished = train(run, state, stop, heartbeat)
    except Exception as error:
        traceback.print_exc()
        if is_out_of_memory(error):
            # Explaining it needs the memory that the frames hold.
            traceback.clear_frames(error.__traceback__)
            error = explain(error, run.plan, rank, heartbeat.step, in_use_before)
        record_failure(state, rank, heartbeat.step, error)
        # Other ranks may wait for this one in a collective, so the process group cannot
        # be taken down in order.
        leave(1)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return finished


def end_with_the_step() -> None:
    """Have the kernel kill this rank when the step that started it has gone.

    The kernel does it at once, however the step ended and whatever this rank is busy
    with. A thread that polled for it would have to wait for the interpreter's lock.
    """
    step = os.environ.get(STEP_PID)
    if step is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(step):  # it ended before the call above
        os._exit(1)


def leave(code: int) -> None:
    """End this process at once, without Python's own shutdown.

    During that shutdown threads of libraries can abort the process, and a training that
    is done would count as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
