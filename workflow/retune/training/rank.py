"""One rank of a training run: what `launch` or any other launcher starts.

`python -m retune.training.rank --settings JSON --base PATH --tokens PATH ...`, with
RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in the environment, as
torchrun sets them. Exit codes: 0 the last step is done; 75 stopped on a signal, saved;
1 failed, see failure-rankN.json.
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

from retune.settings import FinetuneSettings
from retune.training.failures import record_failure
from retune.training.heartbeat import Heartbeat
from retune.training.out_of_memory import explain, is_out_of_memory, memory_in_use
from retune.training.stopping import (
    StopRequest,
    ignore_stop_requests,
    leave_at_once,
)

# Tells a rank the step that started it, whose end is its own.
STEP_PID = "RETUNE_STEP_PID"
# Asks a rank to write the Python stack of each of its threads into its `stack_file`.
DUMP_STACK = signal.SIGUSR2
# Its first phase; the loop names the others.
IMPORTING = "importing"

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> int:
    """Train; return the exit code."""
    options = parse_arguments()
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
    with stack_file(options.state, rank).open("w") as stack:
        faulthandler.register(DUMP_STACK, stack)
        heartbeat = Heartbeat(options.state, rank)
        heartbeat.beat(0, IMPORTING)
        finished = train_or_leave(options, rank, stop, heartbeat)
        ignore_stop_requests()
    return 0 if finished else os.EX_TEMPFAIL


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(prog="python -m retune.training.rank")
    parser.add_argument(
        "--settings", type=FinetuneSettings.model_validate_json, required=True
    )
    for name in ("base", "tokens", "plan", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def stack_file(state: Path, rank: int) -> Path:
    """Return where a rank writes its stack when asked."""
    return state / f"stack-rank{rank}"


def train_or_leave(
    options: argparse.Namespace, rank: int, stop: StopRequest, heartbeat: Heartbeat
) -> bool:
    """Return what `train` does; after an error record it and leave this process."""
    before = 0.0
    try:
        # Only now, seconds of it: the signals are listened to already.
        import torch.distributed

        from retune.training.loop import train

        before = memory_in_use()
        finished = train(
            options.settings,
            options.base,
            options.tokens,
            options.plan,
            options.state,
            stop,
            heartbeat,
        )
    except Exception as error:
        traceback.print_exc()
        if is_out_of_memory(error):
            # What the frames hold is needed for telling it.
            traceback.clear_frames(error.__traceback__)
            error = explain(error, options.plan, rank, heartbeat.step, before)
        record_failure(options.state, rank, heartbeat.step, error)
        # Other ranks may wait for this one in a collective: leave without goodbye.
        leave(1)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return finished


def end_with_the_step() -> None:
    """Have the kernel kill this rank when the step that started it has gone.

    The kernel does it at once, however the step ended and whatever this rank is busy
    with; a thread that looks for the step would wait for the interpreter's lock.
    """
    step = os.environ.get(STEP_PID)
    if step is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(step):  # it went before the kernel knew
        os._exit(1)


def leave(code: int) -> None:
    """End this process at once: all is written.

    Threads of libraries can abort a process that Python takes apart, and a training
    that is done would count as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
