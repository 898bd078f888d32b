"""Ranks that make no progress: their stacks, and which of them holds up the others."""

import logging
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from retune.compat.pytorch_errors import is_in_collective
from retune.supervision.failures import Failure, Fault
from retune.supervision.heartbeat import Beat, furthest_behind
from retune.training.rank import DUMP_STACK, stack_file

log = logging.getLogger(__name__)

# Seconds that a rank may take to write its stack.
DUMP_S = 0.5


def stalled(
    ranks: Mapping[int, subprocess.Popen], state: Path, beats: Mapping[int, Beat]
) -> Failure:
    """Write the ranks' stacks into the log; return the failure of those behind.

    Args:
        ranks: The ranks that still run.
        state: Folder of the run.
        beats: The last beat of each rank.
    """
    last = [beats[number] for number in ranks]
    suspended = [beat for beat in last if is_suspended(ranks[beat.rank])]
    stacks = {n: ask_for_stack(process, state, n) for n, process in ranks.items()}
    for number, stack in stacks.items():
        beat = beats[number]
        log.error(
            "rank %d, %.0f s in step %d (%s):\n%s",
            *(number, beat.seconds_ago, beat.step, beat.phase, stack),
        )
    # The cause is behind the others. But a rank can also be behind because it waits
    # for another one: ranks that are equally far, and later stages of a pipeline.
    busy = [beat for beat in last if not is_in_collective(stacks[beat.rank])]
    named = suspended or furthest_behind(busy or last)
    # If all of them wait for others, those may be on another machine.
    fault = Fault.OWN if suspended or busy else Fault.VICTIM
    return Failure(
        named[0].rank,
        time.time(),
        named[0].step,
        no_progress(named),
        is_explained=True,
        fault=fault,
    )


def no_progress(named: list[Beat]) -> str:
    """Return the sentence about ranks that made no progress, by their last beats."""
    numbers = " and ".join(str(beat.rank) for beat in named)
    many = len(named) > 1
    where = "their stacks are" if many else "its stack is"
    return (
        f"rank{'s' * many} {numbers} made no progress for"
        f" {named[0].seconds_ago:,.0f} s in step {named[0].step}"
        f" ({named[0].phase}); {where} in the log. If that may take so long, raise"
        " finetune.ddp_timeout"
    )


def is_suspended(process: subprocess.Popen) -> bool:
    """Return whether a process is stopped, as by SIGSTOP."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "T"


def ask_for_stack(process: subprocess.Popen, state: Path, rank: int) -> str:
    """Return the Python stacks of a rank's threads; empty if it does not answer."""
    file = stack_file(state, rank)
    # Before the rank has made the file, the signal would end it.
    if not file.exists():
        return ""
    process.send_signal(DUMP_STACK)
    process.send_signal(signal.SIGCONT)
    time.sleep(DUMP_S)
    return file.read_text()
