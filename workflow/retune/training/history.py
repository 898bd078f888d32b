"""The history of a training run: a line per step, followed while it is written."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from retune.publishing import write_json, write_text

# The columns of the two tables that are published. Two, since a validation is rare
# and an empty field is a zero to DVC's plots.
STEPS = (
    "step",
    "epoch",
    "train_loss",
    "learning_rate",
    "grad_norm",
    "num_labels",
    "num_tokens",
    "seconds",
    "data_seconds",
    "forward_seconds",
    "backward_seconds",
    "optimizer_seconds",
    "save_seconds",
    "mfu",
    "peak_memory_gb",
)
VALIDATIONS = ("step", "validation_loss")
FILE = "history.jsonl"
# Beside it: the step that the last try resumed at, 0 for a new run.
STARTED = "started.json"
# At the end: what was measured once (see History.finish).
MEASURED = "measured.json"


class History:
    """The writing end, in the ranks; only rank 0 writes."""

    def __init__(self, state: Path, first: int, rank: int) -> None:
        """Open the file, keeping the steps before step `first` of a resumed run."""
        self._state = state
        self._file = None
        if rank != 0:
            return
        kept = [r for r in read_history(state) if r["step"] <= first] if first else []
        write_text(state / FILE, "".join(json.dumps(r) + "\n" for r in kept))
        write_json(state / STARTED, {"step": first})
        self._file = (state / FILE).open("a", encoding="utf-8", buffering=1)

    def write(self, **record: Any) -> None:
        """Add one step's values."""
        if self._file:
            self._file.write(json.dumps(record) + "\n")

    def finish(self, **measured: Any) -> None:
        """Leave what was measured of the whole run."""
        if self._file:
            write_json(self._state / MEASURED, measured)

    def sync(self) -> None:
        """Force what is written to disk: a checkpoint must not outlive its history."""
        if self._file:
            os.fsync(self._file.fileno())


def read_history(state: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a history that may still be written."""
    path = state / FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def as_csv(records: list[dict[str, Any]], columns: tuple[str, ...], of: str) -> str:
    """Return the records that have a value in column `of` as CSV.

    A step that was skipped has no training loss, and no line. What was not measured
    is empty: the parts of a pipeline's steps, the norm at ZeRO stage 0.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        if record.get(of) is not None:
            values = [record.get(column) for column in columns]
            writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)
    return text.getvalue()
