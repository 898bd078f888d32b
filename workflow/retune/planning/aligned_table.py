"""Tables of Markdown that line up as plain text, too."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], numbers: range = range(0)) -> str:
    """Return a table of Markdown whose columns line up.

    Args:
        rows: The rows, the head first.
        numbers: Places of columns that stand at the right.
    """
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        padded = [
            cell.rjust(width) if number in numbers else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |")
    rules = [
        "-" * (width - 1) + ":" if number in numbers else "-" * width
        for number, width in enumerate(widths)
    ]
    lines.insert(1, f"| {' | '.join(rules)} |")
    return "\n".join(lines) + "\n"
