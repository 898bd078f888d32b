"""Which one of several equal documents stays, and in which split."""

import polars as pl

# Splits in order of precedence: of equal documents the one in the first split stays.
BY_PRECEDENCE = pl.Enum(["test", "validation", "train"])


def same_text() -> pl.Expr:
    """Return the text in one Unicode form and with one form of white space.

    Documents for which this is the same are equal.
    """
    return (
        pl.col("text")
        .str.normalize("NFC")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .alias("same_text")
    )


def drop_duplicates(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep the first row of each text, whatever its Unicode form and white space."""
    return (
        documents.with_columns(same_text())
        .unique("same_text", keep="first", maintain_order=True)
        .drop("same_text")
    )


def count_in_other_splits(
    documents: pl.DataFrame, unique: pl.DataFrame
) -> dict[tuple[str, str], int]:
    """Count the documents of one split that were dropped for one of another split.

    Args:
        documents: Documents before duplicates were dropped: id, text, split.
        unique: Documents that stayed.

    Returns:
        Number of documents, by the split that lost them and the split that has them.
    """
    dropped = documents.join(unique.select("id"), on="id", how="anti")
    held_out = unique.filter(pl.col("split") != "train")
    lost = dropped.select("split", same_text()).join(
        held_out.select(same_text(), has="split"), on="same_text"
    )
    counts = lost.filter(pl.col("split") != pl.col("has")).group_by("split", "has")
    return {
        (of, has): count
        for of, has, count in counts.len().sort("split", "has").iter_rows()
    }
