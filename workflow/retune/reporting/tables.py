"""The report's tables: rows of plain text, which the page's template sets."""

from collections.abc import Sequence
from dataclasses import dataclass

from retune.reporting.evaluation_rows import HEADER, Row, evaluation_rows, floor_rows
from retune.reporting.fact_rows import (
    origin_rows,
    plan_rows,
    removal_rows,
    split_rows,
    training_rows,
)
from retune.reporting.provenance_rows import machine_rows, provenance_rows
from retune.reporting.run_results import RunResults
from retune.training.provenance import Provenance

FLOOR_HEADER = ("floor on test", "bits per byte")
PLAN_HEADER = ("setting", "value", "why")
SPLIT_HEADER = ("split", "documents", "groups", "words", "bytes", "tokens")


@dataclass(frozen=True)
class Table:
    """A table; without a header its first column names what its second says.

    Attributes:
        caption: What it shows, for who does not see it.
        rows: Cells of plain text.
        header: Names of the columns.
        has_numbers: All columns but the first are numbers.
    """

    caption: str
    rows: Sequence[Row]
    header: Row = ()
    has_numbers: bool = False


def tables_of(run: RunResults, provenance: Provenance) -> dict[str, Table]:
    """Return every table of a run by its name."""
    test, validation = (
        Table(
            f"Base against tuned on {split}",
            evaluation_rows(run.evaluation[split]),
            HEADER,
            has_numbers=True,
        )
        for split in ("test", "validation")
    )
    floors = floor_rows(run.evaluation)
    return {
        "test": test,
        "validation": validation,
        "floors": Table("Floors", floors, FLOOR_HEADER, has_numbers=True),
        "plan": Table("The plan", plan_rows(run), PLAN_HEADER),
        "training": Table("The training", training_rows(run)),
        "origin": Table("Where the data came from", origin_rows(run)),
        "removed": Table("What was removed", removal_rows(run)),
        "splits": Table("The splits", split_rows(run), SPLIT_HEADER, has_numbers=True),
        "provenance": Table("Made from", provenance_rows(run, provenance)),
        "machine": Table("The machine", machine_rows(provenance)),
    }
