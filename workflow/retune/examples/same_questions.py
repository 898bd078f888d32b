"""Examples that ask the same question: they belong into one split.

A question that many examples ask is an instruction, such as `Write a limerick.`, and
says nothing of what an example is about.
"""

import polars as pl

from retune.examples.document_kinds import SOURCE, kind_of
from retune.examples.duplicates import normal_form

# A question is an instruction if at least half of the examples of its source ask it, or
# at least a twentieth and ten.
HALF, TWENTIETH, TEN = 0.5, 0.05, 10


def questions_of(examples: pl.DataFrame) -> pl.Series:
    """Return the question of each example, in one spelling (string, [examples]).

    Neither case nor white space counts. It is null where there is none, and where it is
    an instruction.

    Args:
        examples: All examples of a dataset: question.
    """
    question = normal_form("question").str.to_lowercase()
    source = [SOURCE] if SOURCE in examples.columns else []
    number = pl.len().over(source) if source else pl.len()
    asked = pl.len().over(question, *source)
    is_instruction = (asked >= HALF * number) | (
        (asked >= TWENTIETH * number) & (asked >= TEN)
    )
    is_none = (question == "") | is_instruction
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
