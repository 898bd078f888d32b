"""Start the ranks of a training run on this machine, follow them, end them.

Each rank is a child process of whoever calls this: the step, or on several machines a
`retune.training.node` on each. Any other launcher can start `retune.training.rank` as
well: all it needs are the variables that `rank_environment` returns.
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
from retune.log_lines import log_lines, pass_on_output
from retune.settings import FinetuneSettings
from retune.training.failures import (
    Failure,
    Fault,
    RankError,
    first_failure,
    read_failure,
)
from retune.training.heartbeat import Beat, furthest_behind, read_beats
from retune.training.rank import DUMP_STACK, IMPORTING, STEP_PID, stack_file
from retune.training.stopping import PASSED_ON, StopRequest
from retune.training.watched_progress import Progress

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

# Phases in which a rank has not imported its libraries yet.
STARTING = ("starting", IMPORTING)

POLL_S = 0.2
# What a rank may take, at least, until it has imported its libraries: on a shared file
# system that can be minutes, and says nothing of how long training may stand still.
IMPORT_S = 600
# How long ranks may take to leave what went wrong, once one has failed.
GRACE_S = 5.0
# How long the last that a rank has printed may take to be read.
LAST_WORDS_S = 2.0
# How long a rank may take to write its stack.
DUMP_S = 0.5

Ranks = dict[int, subprocess.Popen]


def rank_command(
    settings: FinetuneSettings, base: Path, tokens: Path, plan: Path, state: Path
) -> list[str]:
    """Return the command line of every rank."""
    return [
        *[sys.executable, "-m", "retune.training.rank"],
        *["--settings", settings.model_dump_json(), "--base", str(base)],
        *["--tokens", str(tokens), "--plan", str(plan), "--state", str(state)],
    ]


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
        command: Of each rank; the environment tells them apart.
        accelerator: `cpu` or `cuda`.
        world_size: Ranks on all machines.
        first: Number of the first rank here.
        local_world_size: Ranks here; all of them if not given.
        master: Address and port of rank 0; this machine's if not given.
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
            # A rank's output is the log's; stdout is the bar's. A session of its own
            # keeps a terminal's Ctrl-C from it, so that it hears of it once, from us,
            # and makes it a group that can be ended with all that it has started.
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
    """End the ranks after the block; yield a list for what passes on their output."""
    output: list[threading.Thread] = []
    try:
        yield output
    finally:
        kill(ranks)
        for thread in output:
            # Something that a rank has started may live on, and hold its output open.
            thread.join(LAST_WORDS_S)


def rank_environment(
    accelerator: str, local_world_size: int, address: str
) -> dict[str, str]:
    """Return the environment that all ranks of this machine share.

    CUDA_VISIBLE_DEVICES stays as it is: LOCAL_RANK counts the devices it allows.
    """
    environment = {
        "LOCAL_WORLD_SIZE": str(local_world_size),
        "MASTER_ADDR": address,
        "DS_ACCELERATOR": accelerator,
        "HF_HUB_OFFLINE": "1",
        # Libraries' own bars are no lines of a log.
        "TQDM_DISABLE": "1",
        STEP_PID: str(os.getpid()),
    }
    # On GPUs, too: an optimizer that is offloaded computes on the cores.
    for library in ("OMP", "MKL"):
        name = f"{library}_NUM_THREADS"
        # Where it is set, by Snakemake for one, it is for all ranks together.
        threads = int(os.environ.get(name) or len(os.sched_getaffinity(0)))
        environment[name] = str(max(1, threads // local_world_size))
    if accelerator == "cpu":
        has_loopback = any(name == "lo" for _, name in socket.if_nameindex())
        if address == LOOPBACK and has_loopback:
            # They share one machine: talk over loopback, whatever its name means.
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
    """Wait for the ranks' end, showing how far they are.

    They end when the last step is done, or when they were stopped and have saved.

    Args:
        ranks: What `started` yields.
        state: Where they write their history, beats and failures.
        progress: Shows it.
        stop: A first signal is passed on to the ranks; a second ends the wait.
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
            raise RankError(explain_failure(ranks, state, beats, timeout))
        if not alive:
            return
        if any(is_late(beats[number], timeout) for number in alive):
            raise RankError(explain_stall(alive, state, beats))
        if len(stop.received) > 1:
            raise ended_at_once(stop.received[-1])
        if stop.requested and not passed_on:
            # Before its first beat a rank does not listen yet.
            passed_on = all(beat.beats for beat in beats.values())
            if passed_on:
                pass_on(stop.received[0], alive)
        progress.show(state)
        time.sleep(POLL_S)


def running(ranks: Ranks) -> Ranks:
    """Return the ranks that have not ended."""
    return {n: process for n, process in ranks.items() if process.poll() is None}


def failed(ranks: Ranks) -> Ranks:
    """Return the ranks that ended with an error, of those known to have ended."""
    good = (None, 0, os.EX_TEMPFAIL)
    return {n: p for n, p in ranks.items() if p.returncode not in good}


def last_beats(ranks: Ranks, state: Path, start: float) -> dict[int, Beat]:
    """Return each rank's last sign of life; its start, if it has made none.

    Ranks of other machines, whose clocks are others, write into the same folder.
    """
    beats = {number: Beat(number, 0, 0, STARTING[0], start) for number in ranks}
    return beats | {beat.rank: beat for beat in read_beats(state) if beat.rank in ranks}


def is_late(beat: Beat, timeout: int) -> bool:
    """Return whether a rank should have given another sign of life by now."""
    allowed = max(timeout, IMPORT_S) if beat.phase in STARTING else timeout
    return seconds_since(beat) > allowed


def seconds_since(beat: Beat) -> float:
    """Return how long ago a beat was."""
    return time.monotonic() - beat.time


def pass_on(number: signal.Signals, ranks: Ranks) -> None:
    """Ask the ranks to save and to end after the step they are in."""
    log.info("%s: stopping after this step, with a checkpoint", number.name)
    for process in ranks.values():
        process.send_signal(PASSED_ON)


def wait_for_the_others(ranks: Ranks) -> None:
    """Give the ranks time to notice that one has failed, and to say how."""
    deadline = time.monotonic() + GRACE_S
    while running(ranks) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def explain_failure(
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
    waited = max((seconds_since(beats[number]) for number in alive), default=0)
    if first.fault != Fault.OWN and waited > timeout / 2:
        # The others gave up waiting for those that are left.
        return explain_stall(alive, state, beats)
    return first


def explain_stall(ranks: Ranks, state: Path, beats: dict[int, Beat]) -> Failure:
    """Write the ranks' stacks into the log; return which of them is behind."""
    last = [beats[number] for number in ranks]
    suspended = [beat for beat in last if is_suspended(ranks[beat.rank])]
    stacks = {n: ask_for_stack(process, state, n) for n, process in ranks.items()}
    for number, stack in stacks.items():
        beat = beats[number]
        log.error(
            "rank %d, %.0f s in step %d (%s):\n%s",
            *(number, seconds_since(beat), beat.step, beat.phase, stack),
        )
    # The cause is behind the others, but a rank can be behind because it waits for
    # another one: level ranks, and the later stages of a pipeline.
    busy = [beat for beat in last if not in_collective(stacks[beat.rank])]
    named = suspended or furthest_behind(busy or last)
    numbers = " and ".join(str(beat.rank) for beat in named)
    many = len(named) > 1
    where = "their stacks are" if many else "its stack is"
    # If all of them wait for others, those may be on another machine.
    fault = Fault.OWN if suspended or busy else Fault.VICTIM
    return Failure(
        named[0].rank,
        time.time(),
        named[0].step,
        f"rank{'s' * many} {numbers} made no progress for"
        f" {seconds_since(named[0]):,.0f} s in step {named[0].step}"
        f" ({named[0].phase}); {where} in the log. If that may take so long, raise"
        " finetune.ddp_timeout",
        mendable=True,
        fault=fault,
    )


def is_suspended(process: subprocess.Popen) -> bool:
    """Return whether a process is stopped, as by SIGSTOP."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "T"


def ask_for_stack(process: subprocess.Popen, state: Path, rank: int) -> str:
    """Return the Python stacks of a rank's threads; empty if it does not answer."""
    file = stack_file(state, rank)
    if not file.exists():  # the signal would only end it
        return ""
    process.send_signal(DUMP_STACK)
    process.send_signal(signal.SIGCONT)
    time.sleep(DUMP_S)
    return file.read_text()


def in_collective(stack: str) -> bool:
    """Return whether a stack is that of a rank that waits for the others."""
    return "/torch/distributed/" in stack


def kill(ranks: Ranks) -> None:
    """End the ranks that still run, and what they have started.

    By SIGKILL: they take SIGTERM for a request to save, which needs all of them.
    """
    alive = running(ranks)
    for process in alive.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for process in alive.values():
        process.wait()


def remove_leftovers(state: Path) -> None:
    """Remove what an ended run left beside its checkpoints and its history."""
    for pattern in (
        "heartbeat-rank*",
        "failure-*.json",
        "stack-rank*",
        "training.json",
    ):
        for path in state.glob(pattern):
            path.unlink()
    for folder in state.glob(".step-*"):
        shutil.rmtree(folder, ignore_errors=True)
