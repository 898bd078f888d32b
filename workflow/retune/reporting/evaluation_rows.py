"""Base against tuned as rows of plain text, for every table that shows it."""

from retune.artifacts.evaluation_metrics import Comparison, ExactMatches, Floors
from retune.quantities import number, percent, relative_change
from retune.reporting.terms import TEXTS, Terms

Row = tuple[str, ...]

HEADER = ("", "base", "tuned", "change", "95 % interval")


def evaluation_rows(comparison: Comparison, terms: Terms = TEXTS) -> list[Row]:
    """Return measure, base, tuned, change and 95 % interval on one split.

    Args:
        comparison: Comparison on the split.
        terms: What the documents are called, and the measure of them.
    """
    base, tuned = comparison.base, comparison.tuned
    return [
        (
            terms.measure,
            number(base.bits_per_byte),
            number(tuned.bits_per_byte),
            f"{comparison.bits_per_byte_change:+.3f}",
            interval(comparison),
        ),
        perplexity_row("token", base.token_perplexity, tuned.token_perplexity),
        perplexity_row("word", base.word_perplexity, tuned.word_perplexity),
    ]


def exact_match_row(matches: ExactMatches | None) -> list[Row]:
    """Return the row of how often each model gives the very answer of the data.

    Returns:
        No row if no example has a short answer.
    """
    if matches is None:
        return []
    base, tuned = matches.base, matches.tuned
    change = f"{100 * (tuned.share - base.share):+.1f} points"
    name = f"same answer as the data, of {tuned.examples:,} short ones"
    return [(name, percent(base.share), percent(tuned.share), change, "")]


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
