"""Which split a document belongs to, and which one of equal documents stays."""

import hashlib

import polars as pl

from retune.settings import Split


def split_of(
    group: str, seed: int, validation_share: float, test_share: float
) -> Split:
    """Return the split of a group, from nothing but a hash of its name.

    Neither the order nor the number of the other documents matters, so that adding
    data never moves a document, and what belongs together stays together.
    """
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < test_share:
        return "test"
    if position < test_share + validation_share:
        return "validation"
    return "train"


def splits_of(
    groups: pl.Series, seed: int, validation_share: float, test_share: float
) -> pl.Series:
    """Return the split of every group of a column (string, any length)."""
    unique = groups.unique()
    splits = [split_of(group, seed, validation_share, test_share) for group in unique]
    return groups.replace_strict(unique, splits, return_dtype=pl.String)


def drop_duplicates(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep the first row of each text, whatever its Unicode form and white space."""
    same_text = (
        pl.col("text")
        .str.normalize("NFC")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .alias("same_text")
    )
    return (
        documents.with_columns(same_text)
        .unique("same_text", keep="first", maintain_order=True)
        .drop("same_text")
    )
