"""The history of a training as two tables, CSV files without empty rows.

There are two because a validation is rare, and an empty field is a zero to DVC's plots.
A table's columns are the fields of its class, in their order.
"""

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from retune.errors import RetuneError


@dataclass(frozen=True)
class HistoryTable:
    """Columns of numbers, float64 [rows]; NaN where nothing was measured."""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the columns of a CSV file that was verified before.

        Raises:
            RetuneError: If the file has other columns.
        """
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = [*csv.reader(file)] or [[]]
        if tuple(header) != cls.columns():
            raise RetuneError(
                f"{path}: not what this version of retune writes (columns"
                f" {', '.join(header)}): run finetune again"
            )
        numbers = [[float(value or "nan") for value in row] for row in rows]
        table = np.array(numbers, dtype=np.float64).reshape(len(rows), len(header))
        return cls(*table.T.copy())


@dataclass(frozen=True)
class StepHistory(HistoryTable):
    """What each optimizer step measured, history.csv: a row per step that was taken.

    Attributes:
        step: Number of the optimizer step, from 1.
        epoch: Passes over the training blocks done after the step.
        train_loss: Loss of the global batch, nats per predicted token.
        learning_rate: Learning rate of the step.
        grad_norm: Norm of the gradient before clipping; not known at ZeRO stage 0.
        num_labels: Number of predicted tokens in the global batch.
        num_tokens: Number of tokens in the global batch.
        seconds: Time of the step without validation and saving, seconds.
        data_seconds: Time spent waiting for data, seconds.
        forward_seconds: Time of the forward passes, seconds; not of a pipeline.
        backward_seconds: Time of the backward passes, seconds; not of a pipeline.
        optimizer_seconds: Time of the optimizer, seconds; not of a pipeline.
        save_seconds: Time for which saving held up this step, seconds.
        peak_memory_gb: Most memory that rank 0 had held until then, GB.
    """

    step: np.ndarray
    epoch: np.ndarray
    train_loss: np.ndarray
    learning_rate: np.ndarray
    grad_norm: np.ndarray
    num_labels: np.ndarray
    num_tokens: np.ndarray
    seconds: np.ndarray
    data_seconds: np.ndarray
    forward_seconds: np.ndarray
    backward_seconds: np.ndarray
    optimizer_seconds: np.ndarray
    save_seconds: np.ndarray
    peak_memory_gb: np.ndarray


@dataclass(frozen=True)
class ValidationHistory(HistoryTable):
    """The validations, validation.csv: a row per validation.

    Attributes:
        step: Number of optimizer steps done before the validation.
        validation_loss: Loss on the validation split, nats per predicted token.
    """

    step: np.ndarray
    validation_loss: np.ndarray
