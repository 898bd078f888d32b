"""Examples that ask the same question: they belong into one split.

A question that at least half of all examples ask is an instruction for the whole
dataset, such as `Write a limerick.`, and says nothing of what an example is about.
"""

import polars as pl

from retune.examples.document_kinds import kind_of
from retune.examples.duplicates import normal_form

# Part of all examples that ask an instruction for the whole dataset.
OF_ALL = 0.5


def questions_of(examples: pl.DataFrame) -> pl.Series:
    """Return the question of each example, in one spelling (string, [examples]).

    Neither case nor white space counts. It is null where there is none, and where it is
    an instruction for the whole dataset.

    Args:
        examples: All examples of a dataset: question.
    """
    question = normal_form("question").str.to_lowercase()
    is_none = (question == "") | (pl.len().over(question) >= OF_ALL * pl.len())
    return examples.select(pl.when(~is_none).then(question).alias("question"))[
        "question"
    ]


def group_same_questions(documents: pl.DataFrame) -> pl.DataFrame:
    """Put examples that ask the same question, and have no group yet, into one group.

    Args:
        documents: Documents of all splits: id, group, and of examples question. A
            document without a group has its id for one.

    Returns:
        The same documents. Texts are returned as they are.
    """
    if kind_of(documents.columns) == "text":
        return documents
    asked = pl.Series("asked", questions_of(documents))
    is_alone = (pl.col("group") == pl.col("id")) & pl.col("asked").is_not_null()
    first = pl.col("id").min().over("asked", "split")
    return (
        documents.with_columns(asked)
        .with_columns(pl.when(is_alone).then(first).otherwise("group").alias("group"))
        .drop("asked")
    )
