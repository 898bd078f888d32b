"""Errors for a split that comes out without documents, or with hardly any."""

import polars as pl

from retune.artifacts.data_metrics import Kind
from retune.errors import RetuneError
from retune.examples.document_kinds import kind_of, noun_of
from retune.settings import SPLITS, PrepareSettings

# A split of which other splits hold this share is the same data, given twice.
NEARLY_ALL = 0.9
# What documents of each kind have in common with train if they overlap with it.
WHAT_OVERLAPS: dict[Kind, str] = {
    "text": "each shares such a run with",
    "example": "each shares half of its answer, or its whole question, with",
}


def stop_at_lost_split(
    good: pl.DataFrame, unique: pl.DataFrame, in_others: dict[tuple[str, str], int]
) -> None:
    """Raise RetuneError if a split holds hardly anything that others do not hold.

    Args:
        good: Documents that passed the checks.
        unique: Documents that stayed when duplicates were dropped.
        in_others: Number of documents, by the split that lost them and the split that
            has them.
    """
    problems, noun = [], noun_of(good.columns)
    for name in ("train", "validation"):
        count = count_of(good, name)
        others = sorted(other for of, other in in_others if of == name)
        lost = sum(in_others[name, other] for other in others)
        if others and (name not in unique["split"] or lost >= NEARLY_ALL * count):
            is_all = name not in unique["split"]
            files = " and ".join(f"dataset.files.{other}" for other in others)
            problems.append(
                f"{name}.parquet: {'all' if is_all else f'{lost:,} of'} its {count:,}"
                f" {noun}s are in {' and '.join(others)}, too: dataset.files.{name}"
                f" holds {'nothing' if is_all else 'hardly anything'} that is not in"
                f" {files}"
            )
    if problems:
        raise RetuneError("\n".join(problems))


def stop_at_empty_split(
    split: pl.DataFrame,
    kept: pl.DataFrame,
    given: list[str],
    settings: PrepareSettings,
) -> None:
    """Raise RetuneError if a split has no document, saying why it has none.

    Args:
        split: Documents after splitting.
        kept: Documents that remain after the check for overlap.
        given: Names of the splits that the raw data has.
        settings: The section `prepare`.
    """
    problems, noun = [], noun_of(kept.columns)
    for name in SPLITS:
        if name in kept["split"]:
            continue
        count = count_of(split, name)
        if count:
            problems.append(
                f"prepare.overlap_words: {settings.overlap_words} removes all {count:,}"
                f" {name} {noun}s, {WHAT_OVERLAPS[kind_of(kept.columns)]} train:"
                " raise it, or 0 keeps them"
            )
        elif name in given:
            problems.append(
                f"{name}.parquet: all its {noun}s were rejected: check"
                f" dataset.files.{name}"
            )
        else:
            problems.append(
                f"prepare.{name}_share: {getattr(settings, f'{name}_share')} leaves no"
                f" {name} {noun}s: raise it, or give the data a {name} split"
            )
    if problems:
        raise RetuneError("\n".join(problems))


def count_of(documents: pl.DataFrame, split: str) -> int:
    """Return the number of documents in a split."""
    return len(documents.filter(pl.col("split") == split))
