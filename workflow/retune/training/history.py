"""The history of a training run: a line per step, followed while it is written."""

import csv
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.publishing import write_json, write_text

if TYPE_CHECKING:
    from retune.training.resume import Resume

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
# Beside it: the step that the last try resumed at, 0 for a new run, and the number of
# ranks that had saved it.
STARTED = "started.json"
# Holds several lines.
END_BYTES = 8192
# At the end: what was measured once (see History.finish).
MEASURED = "measured.json"


class History:
    """The writing end, in the ranks; only rank 0 writes."""

    def __init__(self, state: Path, resume: "Resume | None", rank: int) -> None:
        """Open the file, keeping the steps until the one that is resumed from."""
        self._state = state
        self._file = None
        if rank != 0:
            return
        first = resume.step if resume else 0
        kept = [r for r in read_history(state) if r["step"] <= first] if resume else []
        write_text(state / FILE, "".join(json.dumps(r) + "\n" for r in kept))
        saved_on = resume.saved_on if resume else None
        write_json(state / STARTED, {"step": first, "saved_on": saved_on})
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


def read_last_step(state: Path) -> dict[str, Any] | None:
    """Return the last step of a history that may still be written.

    Of a file of any size only the end is read. None before the first step.
    """
    path = state / FILE
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - END_BYTES))
        lines = file.read().split(b"\n")[:-1]
    # The first line may be cut in two.
    records = (json.loads(line) for line in reversed(lines[1:]))
    return next((r for r in records if r.get("train_loss") is not None), None)


def as_csv(records: list[dict[str, Any]], columns: tuple[str, ...], of: str) -> str:
    """Return the records that have a value in column `of` as CSV.

    A step that was skipped has no line. What was not measured is empty: the parts of a
    pipeline's steps, the norm at ZeRO stage 0.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        if record.get(of) is not None and not record.get("was_skipped"):
            values = [record.get(column) for column in columns]
            writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)
    return text.getvalue()
