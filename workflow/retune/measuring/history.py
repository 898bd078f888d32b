"""The history of a training run: a line per step, followed while it is written."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retune.artifacts.memory_prediction import MeasuredPhase
from retune.artifacts.publishing import read_json, write_json, write_text

FILE = "history.jsonl"
# Beside the history: where this start of the run began.
STARTED = "started.json"
# Beside the history, at the end of the run: what was measured of the whole run.
MEASURED = "measured.json"
# Number of bytes at the end of the history that are read to find the last step; they
# hold several lines.
END_BYTES = 8192


@dataclass(frozen=True)
class StepRow:
    """What one optimizer step measured, over all ranks unless it says otherwise.

    Attributes:
        step: Number of optimizer steps done, this one included.
        epoch: Passes over the training blocks done.
        train_loss: Mean loss per predicted token, nats; None if it is not finite.
        learning_rate: Learning rate of the step.
        grad_norm: Norm of the gradient before clipping; None where it is not known.
        num_labels: Number of predicted tokens.
        num_tokens: Number of tokens that the model saw.
        was_skipped: Whether DeepSpeed found the gradients not finite and left the
            weights unchanged.
        seconds: Time of the step on rank 0, without validation and saving.
        data_seconds: Time for which rank 0 waited for the data of the step.
        forward_seconds: Time of the forward passes on rank 0; None if not measured.
        backward_seconds: Time of the backward passes on rank 0; None if not measured.
        optimizer_seconds: Time of the optimizer on rank 0; None if not measured.
        save_seconds: Time for which saving after the step before held rank 0 up.
        peak_memory_gb: Most memory that rank 0 has held until now, GB.
    """

    step: int
    epoch: float
    train_loss: float | None
    learning_rate: float
    grad_norm: float | None
    num_labels: int
    num_tokens: int
    was_skipped: bool
    seconds: float
    data_seconds: float
    forward_seconds: float | None
    backward_seconds: float | None
    optimizer_seconds: float | None
    save_seconds: float
    peak_memory_gb: float


@dataclass(frozen=True)
class ValidationRow:
    """One validation.

    Attributes:
        step: Number of optimizer steps done before it.
        validation_loss: Mean loss per predicted token, nats.
    """

    step: int
    validation_loss: float


Row = StepRow | ValidationRow


@dataclass(frozen=True)
class RunStart:
    """Where the last start of a run began.

    Attributes:
        step: Number of optimizer steps done before; 0 for a new run.
        saved_on: Number of ranks that saved the checkpoint it resumed from; None for a
            new run.
    """

    step: int
    saved_on: int | None


@dataclass(frozen=True)
class RunMeasurements:
    """What was measured once for a whole run.

    Attributes:
        peak_memory_gb: Most memory that each rank has held, GB, by rank.
        flops_per_token: FLOPs of a training step per token; None if not known.
        device: What rank 0 computed on: `cpu`, or the name of its GPU.
        memory_before_gb: What each rank held before it loaded the model, GB; 0 on GPUs.
        peak_memory_gb_by_phase: Most that a rank's GPU has held in each phase, GB; not
            measured on CPUs.
    """

    peak_memory_gb: list[float]
    flops_per_token: float | None
    device: str
    memory_before_gb: list[float]
    peak_memory_gb_by_phase: dict[MeasuredPhase, float] = field(default_factory=dict)


class History:
    """The writing end, in the ranks; only rank 0 writes."""

    def __init__(self, state: Path, rank: int, start: RunStart) -> None:
        """Open the file, keeping the rows up to the step that is resumed from.

        Args:
            state: Folder of the run.
            rank: Rank of this process.
            start: Where this start of the run begins.
        """
        self._state = state
        self._file = None
        if rank != 0:
            return
        kept = read_history(state) if start.step else []
        lines = [as_line(row) for row in kept if row.step <= start.step]
        write_text(state / FILE, "".join(lines))
        write_json(state / STARTED, asdict(start))
        self._file = (state / FILE).open("a", encoding="utf-8", buffering=1)

    def write(self, row: Row) -> None:
        """Add a row."""
        if self._file:
            self._file.write(as_line(row))

    def finish(self, measured: RunMeasurements) -> None:
        """Write what was measured of the whole run."""
        if self._file:
            write_json(self._state / MEASURED, asdict(measured))

    def sync(self) -> None:
        """Force what is written to disk: a checkpoint must not outlive its history."""
        if self._file:
            os.fsync(self._file.fileno())


def as_line(row: Row) -> str:
    """Return a row as the file has it."""
    return json.dumps(asdict(row)) + "\n"


def as_row(line: str | bytes) -> Row:
    """Return the row of a line of the file."""
    values: dict[str, Any] = json.loads(line)
    if "validation_loss" in values:
        return ValidationRow(**values)
    return StepRow(**values)


def read_history(state: Path) -> list[Row]:
    """Return the whole lines of a history that may still be written."""
    path = state / FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [as_row(line) for line in lines]


def steps_in(rows: Iterable[Row]) -> list[StepRow]:
    """Return the steps of a history."""
    return [row for row in rows if isinstance(row, StepRow)]


def validations_in(rows: Iterable[Row]) -> list[ValidationRow]:
    """Return the validations of a history."""
    return [row for row in rows if isinstance(row, ValidationRow)]


def read_start(state: Path) -> RunStart:
    """Return where the last start of a run began."""
    return RunStart(**read_json(state / STARTED))


def read_measurements(state: Path) -> RunMeasurements:
    """Return what was measured of a whole run that is done."""
    return RunMeasurements(**read_json(state / MEASURED))


def read_last_step(state: Path) -> StepRow | None:
    """Return the last step with a finite loss of a history that may still be written.

    Only the end of the file is read, however long it is. None before the first step.
    """
    path = state / FILE
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - END_BYTES))
        lines = file.read().split(b"\n")[:-1]
    # The first of these lines may be cut in two; that of a whole file is no step.
    for row in map(as_row, reversed(lines[1:])):
        if isinstance(row, StepRow) and row.train_loss is not None:
            return row
    return None
