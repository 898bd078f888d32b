"""The findings as text for a terminal."""

import json
import textwrap
from collections.abc import Iterator, Sequence

from retune.linting.finding import Finding

# A key longer than this takes a line of its own, and so does any on a narrow terminal.
LONGEST = 44
# Columns that are left for what is said of a key.
LEAST = 30


def findings_text(findings: Sequence[Finding], width: int) -> str:
    """Return errors and warnings apart, with two lines each: what happens, the mend.

    Args:
        findings: At least one.
        width: Columns of the terminal; longer lines go on below themselves.
    """
    longest = max(len(printable(found.key)) for found in findings)
    column = min(longest, LONGEST, width - LEAST - 4)
    groups = []
    for severity in ("error", "warning"):
        group = [found for found in findings if found.severity == severity]
        if group:
            many = "" if len(group) == 1 else "s"
            lines = [f"{len(group)} {severity}{many}"]
            lines += [line for one in group for line in lines_of(one, column, width)]
            groups.append("\n".join(lines))
    return "\n\n".join(groups)


def lines_of(found: Finding, column: int, width: int) -> Iterator[str]:
    """Yield the lines of one finding.

    Args:
        found: The finding.
        column: Width of the column of keys.
        width: Columns of the terminal.
    """
    key = printable(found.key)
    if len(key) > column:
        yield f"  {key}"
        key = ""
    for text in (found.happens, found.mend):
        for line in textwrap.wrap(
            printable(text), width - column - 4, break_on_hyphens=False
        ):
            yield f"  {key:{column}}  {line}"
            key = ""


def printable(text: str) -> str:
    """Return a text with control characters as JSON escapes them."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1]
        for character in text
    )
