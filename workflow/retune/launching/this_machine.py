"""Start the ranks of a training run on this machine, follow them, end them.

Each rank is a child process of the caller: the step, or on several machines a
`retune.launching.node_process` on each. Any other launcher can start
`retune.training.rank` as well: all it needs are the variables that `rank_environment`
returns.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retune.errors import ended_at_once
from retune.launching.stalls import stalled
from retune.supervision.failures import (
    Failure,
    Fault,
    RankError,
    first_failure,
    read_failure,
)
from retune.supervision.heartbeat import Beat, read_beats
from retune.supervision.stopping import PASSED_ON, StopRequest
from retune.supervision.watched_progress import Progress
from retune.terminal.log_lines import log_lines, pass_on_output
from retune.training.rank import IMPORTING, STEP_PID

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

# Phases in which a rank has not yet imported its libraries.
STARTING = ("starting", IMPORTING)

POLL_S = 0.2
# Seconds that a rank may take, at least, until it has imported its libraries. On a
# shared file system that can be minutes, and says nothing of how long a step may take.
IMPORT_S = 600
# Seconds that ranks may take to record their failures, once one has failed.
GRACE_S = 5.0
# Seconds that it may take to read the last lines that a rank has printed.
LAST_WORDS_S = 2.0

# Number of a rank -> its process.
Ranks = dict[int, subprocess.Popen]


def rank_command(state: Path) -> list[str]:
    """Return the command line of every rank of the training in a folder."""
    return [sys.executable, "-m", "retune.training.rank", str(state)]


@contextmanager
def started(
    command: list[str],
    accelerator: str,
    world_size: int,
    first: int = 0,
    local_world_size: int | None = None,
    master: tuple[str, int] | None = None,
) -> Iterator[Ranks]:
    """Start ranks on this machine and yield them; none is left afterwards.

    Args:
        command: Command line of every rank; their environments differ.
        accelerator: `cpu` or `cuda`.
        world_size: Number of ranks on all machines.
        first: Number of the first rank here.
        local_world_size: Number of ranks here; by default all of them.
        master: Address and port of rank 0; by default this machine's.
    """
    local_world_size = local_world_size or world_size
    address, port = master or (LOOPBACK, free_port())
    ranks: Ranks = {}
    with log_lines() as lines, ended(ranks) as output:
        for local_rank in range(local_world_size):
            environment = {
                **os.environ,
                **rank_environment(accelerator, local_world_size, address),
                "RANK": str(first + local_rank),
                "LOCAL_RANK": str(local_rank),
                "WORLD_SIZE": str(world_size),
                "MASTER_PORT": str(port),
            }
            # A rank's output goes into the log, because stdout is for the bar. In a
            # session of its own it does not get a terminal's Ctrl-C, which is passed on
            # to it once from here, and it can be ended with all that it has started.
            number = first + local_rank
            ranks[number] = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            output.append(pass_on_output(ranks[number], lines, f"rank {number}"))
        yield ranks


@contextmanager
def ended(ranks: Ranks) -> Iterator[list[threading.Thread]]:
    """End the ranks after the block; yield a list for the threads of their output."""
    output: list[threading.Thread] = []
    try:
        yield output
    finally:
        kill(ranks)
        for thread in output:
            # A process that a rank has started may live on and keep its output open.
            thread.join(LAST_WORDS_S)


def rank_environment(
    accelerator: str, local_world_size: int, address: str
) -> dict[str, str]:
    """Return the environment that all ranks of this machine share.

    CUDA_VISIBLE_DEVICES stays as it is: LOCAL_RANK counts the devices it allows.

    Args:
        accelerator: `cpu` or `cuda`.
        local_world_size: Number of ranks on this machine.
        address: Address of rank 0.
    """
    environment = {
        "LOCAL_WORLD_SIZE": str(local_world_size),
        "MASTER_ADDR": address,
        "DS_ACCELERATOR": accelerator,
        "HF_HUB_OFFLINE": "1",
        # The progress bars of libraries would fill the log.
        "TQDM_DISABLE": "1",
        STEP_PID: str(os.getpid()),
    }
    # Ranks on GPUs need cores, too, if their optimizer is offloaded.
    for library in ("OMP", "MKL"):
        name = f"{library}_NUM_THREADS"
        # If it is set, as by Snakemake, it is the number for all ranks together.
        threads = int(os.environ.get(name) or len(os.sched_getaffinity(0)))
        environment[name] = str(max(1, threads // local_world_size))
    if accelerator == "cpu":
        has_loopback = any(name == "lo" for _, name in socket.if_nameindex())
        if address == LOOPBACK and has_loopback:
            # All ranks are on this machine: they use loopback, whatever address the
            # name of the machine stands for.
            environment["GLOO_SOCKET_IFNAME"] = "lo"
    return environment


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def follow(
    ranks: Ranks, state: Path, progress: Progress, stop: StopRequest, timeout: int
) -> None:
    """Wait for the ranks' end and show how far they are.

    They end when the last step is done, or when they were stopped and have saved.

    Args:
        ranks: The ranks, which `started` yields.
        state: Folder of the run, with their history, beats and failures.
        progress: What shows how far they are.
        stop: Requests to stop; a first signal is passed on to the ranks, a second ends
            the wait.
        timeout: Seconds without a sign of life after which a rank counts as hung.

    Raises:
        RankError: With the failure of the rank that failed first, or that hangs.
        Stopped: On a second signal.
    """
    start = time.monotonic()
    passed_on = False
    while True:
        alive = running(ranks)
        beats = last_beats(ranks, state, start)
        if failed(ranks):
            wait_for_the_others(ranks)
            raise RankError(cause_of_failure(ranks, state, beats, timeout))
        if not alive:
            return
        if any(is_late(beats[number], timeout) for number in alive):
            raise RankError(stalled(alive, state, beats))
        if len(stop.received) > 1:
            raise ended_at_once(stop.received[-1])
        if stop.requested and not passed_on:
            # A rank does not listen for the signal before its first beat.
            passed_on = all(beat.beats for beat in beats.values())
            if passed_on:
                pass_on(stop.received[0], alive)
        progress.show(state)
        time.sleep(POLL_S)


def running(ranks: Ranks) -> Ranks:
    """Return the ranks that have not ended."""
    return {n: process for n, process in ranks.items() if process.poll() is None}


def failed(ranks: Ranks) -> Ranks:
    """Return the ranks that have ended with an error, as of the last `running`."""
    good = (None, 0, os.EX_TEMPFAIL)
    return {n: p for n, p in ranks.items() if p.returncode not in good}


def last_beats(ranks: Ranks, state: Path, start: float) -> dict[int, Beat]:
    """Return each rank's last beat; a rank that has made none counts from its start.

    The ranks of other machines write into the same folder, but the times of their
    beats are of other clocks: they are left out.

    Args:
        ranks: The ranks of this machine.
        state: Folder of the run.
        start: Time of their start, seconds of CLOCK_MONOTONIC.
    """
    beats = {number: Beat(number, 0, 0, STARTING[0], start) for number in ranks}
    return beats | {beat.rank: beat for beat in read_beats(state) if beat.rank in ranks}


def is_late(beat: Beat, timeout: int) -> bool:
    """Return whether a rank should have given another sign of life by now."""
    allowed = max(timeout, IMPORT_S) if beat.phase in STARTING else timeout
    return beat.seconds_ago > allowed


def pass_on(number: signal.Signals, ranks: Ranks) -> None:
    """Ask the ranks to save and to end after the step they are in."""
    log.info("%s: stopping after this step, with a checkpoint", number.name)
    for process in ranks.values():
        process.send_signal(PASSED_ON)


def wait_for_the_others(ranks: Ranks) -> None:
    """Give the ranks time to notice that one has failed, and to record it."""
    deadline = time.monotonic() + GRACE_S
    while running(ranks) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def cause_of_failure(
    ranks: Ranks, state: Path, beats: dict[int, Beat], timeout: int
) -> Failure:
    """Return the failure of the rank that failed first."""
    first = first_failure(
        [
            read_failure(state, number, process.returncode, beats[number].step)
            for number, process in failed(ranks).items()
        ]
    )
    alive = running(ranks)
    waited = max((beats[number].seconds_ago for number in alive), default=0)
    if first.fault != Fault.OWN and waited > timeout / 2:
        # Those that failed gave up waiting for the ranks that still run.
        return stalled(alive, state, beats)
    return first


def kill(ranks: Ranks) -> None:
    """End the ranks that still run, and what they have started.

    They get SIGKILL, because they take SIGTERM for a request to save, and saving needs
    all of them.
    """
    alive = running(ranks)
    for process in alive.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for process in alive.values():
        process.wait()


def remove_leftovers(state: Path) -> None:
    """Remove all that an ended start of a run left but checkpoints and history."""
    for pattern in ("heartbeat-rank*", "failure-*.json", "stack-rank*"):
        for path in state.glob(pattern):
            path.unlink()
    for folder in state.glob(".step-*"):
        shutil.rmtree(folder, ignore_errors=True)
