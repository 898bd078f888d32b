"""The end of the main job on the terminal: base against tuned in a small table."""

from textwrap import wrap
from typing import Any

from retune.quantities import counted, percent
from retune.reporting.answer import find_answer
from retune.reporting.evaluation_rows import HEADER, evaluation_rows, floor_rows

WIDTH = 80
WIDTHS = (17, 12, 12, 12, 20)


def summary_lines(evaluation: dict[str, Any]) -> list[str]:
    """Return the table's lines, at most 80 columns.

    Args:
        evaluation: What metrics/evaluation.json holds.
    """
    test = evaluation["test"]
    floors = [(f"floor: {name}", value) for name, value in floor_rows(evaluation)]
    caption = (
        f"On {counted(test['tuned']['documents'], 'test document')}; the tuned model"
        f" predicts {percent(test['win_rate'])} of them better."
    )
    rows = [HEADER, *evaluation_rows(test), *floors]
    beaten = find_answer(test).floors
    return [*map(aligned, rows), caption, *wrap(beaten, WIDTH)]


def aligned(row: tuple[str, ...]) -> str:
    """Return a line: the name on the left, the values under each other."""
    name, *values = row
    cells = [
        value.rjust(width) for value, width in zip(values, WIDTHS[1:], strict=False)
    ]
    return (name.ljust(WIDTHS[0]) + "".join(cells)).rstrip()
