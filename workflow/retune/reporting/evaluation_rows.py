"""Base against tuned as rows of plain text, for every table that shows it."""

from retune.artifacts.evaluation_metrics import Comparison, Floors
from retune.quantities import number, relative_change

Row = tuple[str, ...]

HEADER = ("", "base", "tuned", "change", "95 % interval")


def evaluation_rows(comparison: Comparison) -> list[Row]:
    """Return measure, base, tuned, change and 95 % interval on one split."""
    base, tuned = comparison.base, comparison.tuned
    return [
        (
            "bits per byte",
            number(base.bits_per_byte),
            number(tuned.bits_per_byte),
            f"{comparison.bits_per_byte_change:+.3f}",
            interval(comparison),
        ),
        perplexity_row("token", base.token_perplexity, tuned.token_perplexity),
        perplexity_row("word", base.word_perplexity, tuned.word_perplexity),
    ]


def perplexity_row(unit: str, base: float | None, tuned: float | None) -> Row:
    """Return measure, base, tuned and relative change; there is no interval."""
    change = relative_change(base, tuned)
    return (f"{unit} perplexity", number(base), number(tuned), change, "")


def interval(comparison: Comparison) -> str:
    """Return the 95 % interval of the change in bits per byte.

    It is a dash for one document, which says nothing of how others would differ.
    """
    if comparison.tuned.documents < 2:
        return "-"
    low = comparison.bits_per_byte_change_low
    high = comparison.bits_per_byte_change_high
    return f"{low:+.3f} to {high:+.3f}"


def floor_rows(floors: Floors) -> list[Row]:
    """Return name and bits per byte of each floor, which a model must beat on test."""
    return [
        ("unigram", number(floors.unigram_bits_per_byte)),
        ("uniform", number(floors.uniform_bits_per_byte)),
    ]
