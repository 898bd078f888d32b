"""What examples hold beside text, as rows of plain text: turns, systems, tools."""

from retune.quantities import percent
from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import RunResults

HEADER = (
    "split",
    "answers each",
    "median",
    "trained answers",
    "with system",
    "with tools",
    "with reasoning",
)


def example_rows(run: RunResults) -> list[Row]:
    """Return the rows of `HEADER`: a row for each split, none for texts."""
    rows: list[Row] = []
    for split, numbers in (run.data.examples or {}).items():
        total, turns = run.data.documents[split], numbers.turns
        is_alike = turns.min == turns.max
        rows.append(
            (
                split,
                f"{turns.min:,}" + ("" if is_alike else f" to {turns.max:,}"),
                f"{turns.median:g}",
                f"{numbers.trained_turns:,}",
                *(
                    with_share(count, total)
                    for count in (
                        numbers.with_system,
                        numbers.with_tools,
                        numbers.with_reasoning,
                    )
                ),
            )
        )
    return rows


def with_share(count: int, total: int) -> str:
    """Return a number of examples, and which part of all it is: `7 (35.0 %)`."""
    return f"{count:,} ({percent(count / total)})" if count else "none"
