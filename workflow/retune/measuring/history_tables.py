"""A history as the two tables that are published.

`retune.artifacts.training_history` names their columns and reads them.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from retune.artifacts.training_history import StepHistory, ValidationHistory
from retune.measuring.history import Row, StepRow, ValidationRow


def steps_csv(rows: Iterable[StepRow]) -> str:
    """Return the steps that were taken as CSV; one that was skipped has no line.

    What was not measured is empty: the passes of a pipeline's steps, and the norm of
    the gradient at ZeRO stage 0.
    """
    taken = [row for row in rows if row.train_loss is not None and not row.was_skipped]
    return as_csv(StepHistory.columns(), taken)


def validations_csv(rows: Iterable[ValidationRow]) -> str:
    """Return the validations as CSV."""
    return as_csv(ValidationHistory.columns(), rows)


def as_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """Return rows as CSV, with six digits of each float."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [getattr(row, column) for column in columns]
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in values)
    return text.getvalue()
