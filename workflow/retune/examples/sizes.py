"""How large the splits are, and what their examples are like."""

import polars as pl

from retune.artifacts.data_metrics import ExampleNumbers, TurnNumbers
from retune.examples.document_kinds import TEXTS, kind_of
from retune.settings import SPLITS, Split


def sizes(documents: pl.DataFrame) -> dict[str, dict[Split, int]]:
    """Return documents, bytes (UTF-8), words and groups of each split."""
    texts = TEXTS[kind_of(documents.columns)]
    figures = {
        "documents": pl.len(),
        "bytes": pl.sum_horizontal(map(num_bytes, texts)),
        "words": pl.sum_horizontal(map(num_words, texts)),
        "groups": pl.col("group").n_unique(),
    }
    table: dict[str, dict[Split, int]] = {}
    for name in SPLITS:
        row = documents.filter(pl.col("split") == name).select(**figures)
        for figure, value in row.row(0, named=True).items():
            table.setdefault(figure, {})[name] = value
    return table


def example_numbers(documents: pl.DataFrame) -> dict[Split, ExampleNumbers] | None:
    """Return the numbers of the examples of each split; None for texts.

    Args:
        documents: Examples of all splits, with the columns of `ExampleFacts`; or texts.
    """
    if kind_of(documents.columns) == "text":
        return None
    return {
        name: numbers_of(documents.filter(pl.col("split") == name)) for name in SPLITS
    }


def numbers_of(examples: pl.DataFrame) -> ExampleNumbers:
    """Return the numbers of some examples, at least one."""
    turns = pl.col("turns")
    of_turns = examples.select(min=turns.min(), median=turns.median(), max=turns.max())
    numbers = examples.select(
        trained_turns=pl.col("trained_turns").sum(),
        with_tools=pl.col("has_tools").sum(),
        with_system=(pl.col("system") != "").sum(),
        with_reasoning=pl.col("has_reasoning").sum(),
        without_blank=pl.col("lacks_blank").sum(),
        question_bytes=num_bytes("question"),
        answer_bytes=num_bytes("answer"),
    )
    return ExampleNumbers(
        turns=TurnNumbers(**of_turns.row(0, named=True)),
        **numbers.row(0, named=True),
    )


def num_bytes(column: str) -> pl.Expr:
    """Return the size of all texts of a column in UTF-8, bytes."""
    return pl.col(column).str.len_bytes().cast(pl.Int64).sum()


def num_words(column: str) -> pl.Expr:
    """Return the number of words of all texts of a column."""
    return pl.col(column).str.count_matches(r"\S+").cast(pl.Int64).sum()
