"""The tables of the report: rows of plain text, which templates turn into markup."""

from collections.abc import Sequence
from dataclasses import dataclass

from retune.artifacts.evaluation_metrics import Comparison, NoComparison
from retune.artifacts.provenance import Provenance
from retune.reporting.data_rows import origin_rows, removal_rows, split_rows
from retune.reporting.evaluation_rows import (
    HEADER,
    Row,
    evaluation_rows,
    exact_match_row,
    floor_rows,
)
from retune.reporting.example_rows import HEADER as EXAMPLE_HEADER
from retune.reporting.example_rows import example_rows
from retune.reporting.provenance_rows import machine_rows, provenance_rows
from retune.reporting.run_results import ReportResults, RunResults
from retune.reporting.source_rows import HEADER as SOURCE_HEADER
from retune.reporting.source_rows import source_rows
from retune.reporting.terms import Terms
from retune.reporting.token_rows import (
    BLOCK_HEADER,
    LENGTH_HEADER,
    SCRIPT_HEADER,
    block_rows,
    length_rows,
    script_rows,
)
from retune.reporting.training_rows import training_rows

FLOOR_HEADER = ("floor on test", "bits per byte")


@dataclass(frozen=True)
class Table:
    """A table; without a header, each row is a name and a value.

    Attributes:
        caption: What the table shows, for readers who do not see it.
        rows: Cells of plain text, row by row.
        header: Names of the columns.
        has_numbers: Whether all columns but the first hold numbers.
    """

    caption: str
    rows: Sequence[Row]
    header: Row = ()
    has_numbers: bool = False


def tables_of(
    run: RunResults, provenance: Provenance, utilisation: float | None = None
) -> dict[str, Table]:
    """Return every table of a run that card and page have, by its name.

    Args:
        run: The run.
        provenance: Where the training ran.
        utilisation: Fraction of its GPUs' peak FLOP/s that the training used, if that
            is to be shown.
    """
    evaluation = run.evaluation
    floors = floor_rows(evaluation.test.floors)
    header = ("split", run.terms.documents, "groups", "words", "bytes", "tokens")
    matches = exact_match_row(evaluation.exact_match)
    return {
        "test": comparison_table("test", evaluation.test, run.terms, matches),
        "validation": comparison_table("validation", evaluation.validation, run.terms),
        "floors": Table("Floors", floors, FLOOR_HEADER, has_numbers=True),
        "training": Table("The training", training_rows(run, utilisation)),
        "origin": Table("Where the data came from", origin_rows(run)),
        "removed": Table("What was removed", removal_rows(run)),
        "splits": Table("The splits", split_rows(run), header, has_numbers=True),
        "examples": Table(
            "What the examples hold", example_rows(run), EXAMPLE_HEADER, True
        ),
        "blocks": Table("The blocks", block_rows(run), BLOCK_HEADER, has_numbers=True),
        "sources": Table("The sources", source_rows(run), SOURCE_HEADER, True),
        "provenance": Table("Made from", provenance_rows(run, provenance)),
        "machine": Table("The machine", machine_rows(provenance)),
    }


def card_tables(run: ReportResults) -> dict[str, Table]:
    """Return the tables that only the page has, by their names."""
    lengths, scripts = length_rows(run.card), script_rows(run.card)
    return {
        "lengths": Table("Lengths in tokens", lengths, LENGTH_HEADER, has_numbers=True),
        "scripts": Table("The scripts", scripts, SCRIPT_HEADER, has_numbers=True),
    }


def comparison_table(
    split: str,
    comparison: Comparison | NoComparison,
    terms: Terms,
    more: Sequence[Row] = (),
) -> Table:
    """Return the table of both models on a split; it is empty if the split is.

    Args:
        split: Name of the split.
        comparison: The comparison.
        terms: What the documents are called, and the measure of them.
        more: Further rows.
    """
    rows = []
    if isinstance(comparison, Comparison):
        rows = [*evaluation_rows(comparison, terms), *more]
    return Table(f"Base against tuned on {split}", rows, HEADER, has_numbers=True)
