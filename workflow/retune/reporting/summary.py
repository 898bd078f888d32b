"""The end of the main job on the terminal: base against tuned in a small table."""

from typing import Any

from retune.reporting.evaluation_rows import HEADER, evaluation_rows, floor_rows

WIDTHS = (17, 12, 12, 12, 20)


def summary_lines(evaluation: dict[str, Any]) -> list[str]:
    """Return the table's lines, at most 80 columns.

    Args:
        evaluation: What metrics/evaluation.json holds.
    """
    test = evaluation["test"]
    floors = [(f"floor: {name}", value) for name, value in floor_rows(evaluation)]
    documents = f"{test['tuned']['documents']:,}"
    caption = (
        f"On {documents} test documents; the tuned model predicts"
        f" {100 * test['win_rate']:.1f} % of them better."
    )
    return [*map(aligned, [HEADER, *evaluation_rows(test), *floors]), caption]


def aligned(row: tuple[str, ...]) -> str:
    """Return a line: the name on the left, the values under each other."""
    name, *values = row
    cells = [
        value.rjust(width) for value, width in zip(values, WIDTHS[1:], strict=False)
    ]
    return (name.ljust(WIDTHS[0]) + "".join(cells)).rstrip()
