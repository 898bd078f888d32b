"""What ended a rank: it leaves a record of its error, or has only its exit code."""

import signal
import time
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

from retune.artifacts.memory_shortage import MemoryShortage
from retune.artifacts.publishing import read_json, write_json
from retune.compat.pytorch_errors import is_lost_rank_error
from retune.errors import RetuneError
from retune.supervision.out_of_memory import OutOfMemoryError
from retune.supervision.stopping import SIGNALS

# Characters of a rank's error that are repeated at the end; the log has all of it.
ERROR_LENGTH = 400


class Fault(IntEnum):
    """Whether a failure caused others; of several, the least number is the cause."""

    OWN = 0
    # A rank that was ended by SIGABRT: NCCL's watchdog ends a rank so after another
    # one's failure, too.
    ABORTED = 1
    VICTIM = 2


@dataclass(frozen=True)
class Failure:
    """What ended a rank.

    Attributes:
        rank: Number of the rank.
        time: Time of the failure, seconds since the epoch.
        step: Optimizer step that the rank worked on; None if not known.
        error: The error, in one or a few lines.
        is_explained: Whether the error is a sentence for the user, which needs nothing
            more.
        fault: Whether the failure caused others, or may be the result of another.
        shortage: The memory that ran out; None if the failure is another one.
    """

    rank: int
    time: float
    step: int | None
    error: str
    is_explained: bool
    fault: Fault
    shortage: MemoryShortage | None = None

    @property
    def message(self) -> str:
        """The failure as one sentence for the user."""
        if self.is_explained:
            return self.error
        error = " ".join(self.error.split())[:ERROR_LENGTH]
        where = "" if self.step is None else f" (in step {self.step})"
        return f"rank {self.rank} failed first: {error}{where}"

    def write(self, path: Path) -> None:
        """Write a record of the failure."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Failure":
        """Return the failure of a record that `write` wrote."""
        record = read_json(path)
        shortage = record["shortage"] and MemoryShortage(**record["shortage"])
        return cls(**{**record, "fault": Fault(record["fault"]), "shortage": shortage})


class RankError(RetuneError):
    """A training that the failure of a rank has ended."""

    def __init__(self, failure: Failure) -> None:
        """Take the failure that caused the others."""
        super().__init__(failure.message)
        self.failure = failure


def record_failure(state: Path, rank: int, step: int, error: Exception) -> None:
    """Write `state/failure-rankN.json`, as a rank that ends with an error does.

    Args:
        state: Folder of the run.
        rank: Number of the rank.
        step: Optimizer step that it worked on.
        error: The error.
    """
    is_explained = isinstance(error, RetuneError)
    failure = Failure(
        rank=rank,
        time=time.time(),
        step=step,
        error=f"{error}" if is_explained else f"{type(error).__name__}: {error}",
        is_explained=is_explained,
        fault=Fault.VICTIM if is_victim(error) else Fault.OWN,
        shortage=error.shortage if isinstance(error, OutOfMemoryError) else None,
    )
    failure.write(failure_file(state, rank))


def read_failure(state: Path, rank: int, code: int, step: int | None) -> Failure:
    """Return what ended a rank: its own record, or what its exit code says.

    Args:
        state: Folder of the run, in which ranks leave their records.
        rank: Number of the rank.
        code: Exit code of its process; -N after signal N.
        step: Optimizer step of its last sign of life.
    """
    if (path := failure_file(state, rank)).exists():
        return Failure.read(path)
    # A full disk can keep a rank from leaving a record; its error is in the log.
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
    return Failure(rank, time.time(), step, error, is_explained=True, fault=fault)


def first_failure(failures: list[Failure]) -> Failure:
    """Return the failure that most likely caused the others."""
    return min(failures, key=lambda failure: (failure.fault, failure.time))


def failure_file(state: Path, rank: int) -> Path:
    """Return the file in which a rank leaves a record of its failure."""
    return state / f"failure-rank{rank}.json"


def is_victim(error: BaseException | None) -> bool:
    """Return whether an error only says that another rank has gone, or is late."""
    if error is None or isinstance(error, RetuneError):
        return False
    return is_lost_rank_error(error) or is_victim(error.__cause__)
