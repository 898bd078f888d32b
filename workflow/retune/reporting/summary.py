"""The end of the main job on the terminal: base against tuned in a small table."""

from textwrap import wrap

from retune.artifacts.evaluation_metrics import ComparisonWithFloors
from retune.quantities import counted, percent
from retune.reporting.answer import find_answer
from retune.reporting.evaluation_rows import HEADER, Row, evaluation_rows, floor_rows

# Columns of the terminal, and of each column of the table.
WIDTH = 80
WIDTHS = (17, 12, 12, 12, 20)


def summary_lines(test: ComparisonWithFloors) -> list[str]:
    """Return the lines of a table of the test split, at most 80 columns wide."""
    floors = [(f"floor: {name}", value) for name, value in floor_rows(test.floors)]
    caption = (
        f"On {counted(test.tuned.documents, 'test document')}; the tuned model"
        f" predicts {percent(test.win_rate)} of them better."
    )
    rows = [HEADER, *evaluation_rows(test), *floors]
    return [*map(aligned, rows), caption, *wrap(find_answer(test).floors, WIDTH)]


def aligned(row: Row) -> str:
    """Return a line: the name on the left, the values under each other."""
    name, *values = row
    cells = [
        value.rjust(width) for value, width in zip(values, WIDTHS[1:], strict=False)
    ]
    return (name.ljust(WIDTHS[0]) + "".join(cells)).rstrip()
