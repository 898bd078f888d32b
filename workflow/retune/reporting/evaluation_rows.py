"""Base against tuned as rows of plain text, for every table that shows it."""

from typing import Any

from retune.quantities import number, relative_change

Row = tuple[str, ...]

HEADER = ("", "base", "tuned", "change", "95 % interval")


def evaluation_rows(comparison: dict[str, Any]) -> list[Row]:
    """Return measure, base, tuned, change and 95 % interval on one split."""
    base, tuned = comparison["base"], comparison["tuned"]
    rows = [
        (
            "bits per byte",
            number(base["bits_per_byte"]),
            number(tuned["bits_per_byte"]),
            f"{comparison['bits_per_byte_change']:+.3f}",
            interval(comparison),
        )
    ]
    for measure in ("token_perplexity", "word_perplexity"):
        before, after = base[measure], tuned[measure]
        name = measure.replace("_", " ")
        change = relative_change(before, after)
        rows.append((name, number(before), number(after), change, ""))
    return rows


def interval(comparison: dict[str, Any]) -> str:
    """Return the 95 % interval of the change in bits per byte.

    One document says nothing of how others would differ from it.
    """
    if comparison["tuned"]["documents"] < 2:
        return "-"
    low, high = (comparison[f"bits_per_byte_change_{end}"] for end in ("low", "high"))
    return f"{low:+.3f} to {high:+.3f}"


def floor_rows(evaluation: dict[str, Any]) -> list[Row]:
    """Return what a model must beat on test, in bits per byte."""
    floors = evaluation["test"]["floors"]
    return [
        ("unigram", number(floors["unigram_bits_per_byte"])),
        ("uniform", number(floors["uniform_bits_per_byte"])),
    ]
