"""What ended a rank: written by the rank itself, or told by its exit code."""

import signal
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from retune.errors import RetuneError
from retune.publishing import read_json, write_json
from retune.training.stopping import SIGNALS

# Characters of a rank's error that are repeated at the end; the log has all of it.
ERROR_LENGTH = 400

# What torch.distributed raises on the other ranks when one has gone.
VICTIM_TYPES = ("DistBackendError", "DistNetworkError", "DistStoreError")
VICTIM_TEXTS = ("gloo", "Connection closed by peer", "Connection reset", "NCCL")


class Fault(IntEnum):
    """How likely a failure is the cause of the others; the least is."""

    OWN = 0
    # NCCL's watchdog ends a rank by SIGABRT after another one's failure, too.
    ABORTED = 1
    VICTIM = 2


@dataclass(frozen=True)
class Failure:
    """What ended a rank.

    Args:
        rank: Its number.
        time: When, seconds since the epoch.
        step: Optimizer step it worked on; None if not known.
        error: One or a few lines.
        mendable: The error says all that the user needs to know.
        fault: Whether it is the cause of other failures, or may be their result.
    """

    rank: int
    time: float
    step: int | None
    error: str
    mendable: bool
    fault: Fault

    def describe(self) -> str:
        """Return what to tell the user."""
        if self.mendable:
            return self.error
        summary = " ".join(self.error.split())[:ERROR_LENGTH]
        where = "" if self.step is None else f" (in step {self.step})"
        return f"rank {self.rank} failed first: {summary}{where}"


class RankError(RetuneError):
    """A training that a rank has ended; the message describes its failure."""

    def __init__(self, failure: Failure) -> None:
        """Take the failure that is the cause of others."""
        super().__init__(failure.describe())
        self.failure = failure


def record_failure(state: Path, rank: int, step: int, error: Exception) -> None:
    """Write `state/failure-rankN.json`."""
    mendable = isinstance(error, RetuneError)
    victim = is_victim(error)
    failure = {
        "time": time.time(),
        "rank": rank,
        "step": step,
        "mendable": mendable,
        "victim": victim,
        "error": f"{error}" if mendable else f"{type(error).__name__}: {error}",
    }
    write_json(failure_file(state, rank), failure)


def read_failure(state: Path, rank: int, code: int, step: int | None) -> Failure:
    """Return what ended a rank: its own record, or what its exit code tells.

    Args:
        state: Where ranks leave their records.
        rank: Its number.
        code: Its exit code; -N after signal N.
        step: Optimizer step of its last sign of life.
    """
    if (path := failure_file(state, rank)).exists():
        record = read_json(path)
        fault = Fault.VICTIM if record.pop("victim") else Fault.OWN
        return Failure(**record, fault=fault)
    # A full disk can keep a rank from leaving a record; the log has its error.
    what = f"ended with exit code {code}; the log may say why"
    fault = Fault.OWN
    if code - 128 in SIGNALS:
        what = f"left at once on a second {signal.Signals(code - 128).name}"
    elif code < 0:
        what = f"was killed by {signal.Signals(-code).name}"
        if -code == signal.SIGABRT:
            fault = Fault.ABORTED
    where = "" if step is None else f" in step {step}"
    hint = ""
    if -code == signal.SIGKILL:
        hint = (
            " (the kernel does that when memory runs out: lower"
            " configure.micro_batch_size, or give the run more memory)"
        )
    error = (
        f"rank {rank} {what}{where}{hint}. The checkpoints stay: the next run resumes"
    )
    return Failure(rank, time.time(), step, error, mendable=True, fault=fault)


def first_failure(failures: list[Failure]) -> Failure:
    """Return the failure that the others most likely follow from."""
    return min(failures, key=lambda failure: (failure.fault, failure.time))


def failure_file(state: Path, rank: int) -> Path:
    """Return where a rank writes what went wrong."""
    return state / f"failure-rank{rank}.json"


def is_victim(error: BaseException | None) -> bool:
    """Return whether an error only says that another rank has gone, or is late."""
    if error is None or isinstance(error, RetuneError):
        return False
    if type(error).__name__ in VICTIM_TYPES:
        return True
    if isinstance(error, RuntimeError) and any(t in str(error) for t in VICTIM_TEXTS):
        return True
    return is_victim(error.__cause__)
