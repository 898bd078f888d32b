"""Which one of several equal documents stays, and in which split."""

from collections.abc import Collection

import polars as pl

from retune.examples.document_kinds import TEXTS, kind_of

# Splits in order of precedence: of equal documents the one in the first split stays.
BY_PRECEDENCE = pl.Enum(["test", "validation", "train"])


def same_text(columns: Collection[str]) -> pl.Expr:
    """Return the text in one Unicode form and with one form of white space.

    Documents for which this is the same are equal. Of an example it is what the system
    says, the question and the answer, with the roles and the tools.

    Args:
        columns: Columns that the documents have.
    """
    kind = kind_of(columns)
    more = ("system", "form") if kind == "example" else ()
    # No text holds NUL, so what is before it is never taken for what is after it.
    return pl.concat_str(
        [normal_form(name) for name in (*more, *TEXTS[kind])], separator="\0"
    ).alias("same_text")


def normal_form(column: str) -> pl.Expr:
    """Return a text in Unicode form NFC, its white space single blanks within it."""
    text = pl.col(column).str.normalize("NFC")
    return text.str.replace_all(r"\s+", " ").str.strip_chars()


def drop_duplicates(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep the first of equal documents, whatever their Unicode form and white space.

    Args:
        documents: Column text; or columns example, system, question, answer.
    """
    return (
        documents.with_columns(same_text(documents.columns))
        .unique("same_text", keep="first", maintain_order=True)
        .drop("same_text")
    )


def count_in_other_splits(
    documents: pl.DataFrame, unique: pl.DataFrame
) -> dict[tuple[str, str], int]:
    """Count the documents of one split that were dropped for one of another split.

    Args:
        documents: Documents before duplicates were dropped: id, split, and those that
            `drop_duplicates` needs.
        unique: Documents that stayed.

    Returns:
        Number of documents, by the split that lost them and the split that has them.
    """
    dropped = documents.join(unique.select("id"), on="id", how="anti")
    held_out = unique.filter(pl.col("split") != "train")
    text = same_text(documents.columns)
    lost = dropped.select("split", text).join(
        held_out.select(text, has="split"), on="same_text"
    )
    counts = lost.filter(pl.col("split") != pl.col("has")).group_by("split", "has")
    return {
        (of, has): count
        for of, has, count in counts.len().sort("split", "has").iter_rows()
    }
