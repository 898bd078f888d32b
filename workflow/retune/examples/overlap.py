"""Which held-out documents are dropped because train holds the same.

A text is dropped if it shares a run of words with train. An example is dropped if at
least half of its answer is runs of words of train's answers, or if its whole question
is one of train. A phrase that many answers have, or an instruction that stands in every
question, drops nothing. What the system says, and the tools, do not count.
"""

import logging
from typing import NamedTuple

import polars as pl

from retune.artifacts.data_metrics import OverlappingDocuments, OverlappingExamples
from retune.examples.document_kinds import kind_of
from retune.examples.same_questions import questions_of
from retune.examples.shared_runs import shared_part
from retune.settings import HELD_OUT, Split

# An answer of which this part is runs of words of train's answers is a copy.
COPIED = 0.5

log = logging.getLogger(__name__)


class SharedWithTrain(NamedTuple):
    """What held-out examples have in common with train, a boolean each ([examples]).

    Attributes:
        by_answer: Whether half of the answer is runs of words of train's answers.
        by_question: Whether it does not, and the whole question is one of train.
        similar: Whether neither is the case, and the question shares a run of words
            with a question of train.
    """

    by_answer: pl.Series
    by_question: pl.Series
    similar: pl.Series


def drop_overlap(
    documents: pl.DataFrame, words: int
) -> tuple[pl.DataFrame, OverlappingDocuments]:
    """Drop held-out documents of which train holds the same.

    Args:
        documents: Documents of all splits: split, and text or question and answer.
        words: Number of words in a run; 0 drops nothing.

    Returns:
        The documents kept, and the number that each held-out split lost.
    """
    if words == 0:
        nothing = dict.fromkeys(HELD_OUT, 0)
        return documents, OverlappingDocuments(words=0, removed=nothing)
    is_train = documents["split"] == "train"
    held_out, train = documents.filter(~is_train), documents.filter(is_train)
    split = held_out["split"]
    if kind_of(documents.columns) == "text":
        drops = shared_part(held_out["text"], train["text"], words) > 0
        overlap = OverlappingDocuments(
            words=words, removed=count_by_split(drops, split)
        )
        log_removed(f"sharing {words} words in a row with train", overlap.removed)
    else:
        questions = questions_of(documents)
        asked_in_train = questions.filter(is_train).drop_nulls()
        is_asked = questions.filter(~is_train).is_in(asked_in_train.implode())
        found = find_shared(held_out, train, is_asked.fill_null(False), words)
        drops = found.by_answer | found.by_question
        overlap = count_shared(found, split, words)
    return pl.concat([held_out.filter(~drops), train]), overlap


def find_shared(
    held_out: pl.DataFrame, train: pl.DataFrame, is_asked: pl.Series, words: int
) -> SharedWithTrain:
    """Return what held-out examples have in common with those of train.

    Args:
        held_out: Examples to judge: question, answer.
        train: Examples of the training split: question, answer.
        is_asked: Whether the whole question of an example is one of train (bool,
            [examples to judge]).
        words: Number of words in a run.
    """
    answer = shared_part(held_out["answer"], train["answer"], words) >= COPIED
    question = is_asked & ~answer
    run = shared_part(held_out["question"], train["question"], words) > 0
    return SharedWithTrain(answer, question, run & ~answer & ~question)


def count_shared(
    found: SharedWithTrain, split: pl.Series, words: int
) -> OverlappingDocuments:
    """Return how many examples of each held-out split have something of train.

    Args:
        found: What the examples have in common with train.
        split: Split of each of these examples ([examples]).
        words: Number of words in a run.
    """
    examples = OverlappingExamples(
        by_answer=count_by_split(found.by_answer, split),
        by_question=count_by_split(found.by_question, split),
        similar_questions=count_by_split(found.similar, split),
    )
    log_removed(
        f"an answer whose runs of {words} words are mostly train's", examples.by_answer
    )
    log_removed("a question of train", examples.by_question)
    log.info(
        "kept, though their questions share %d words in a row with train: %s",
        *(words, by_split(examples.similar_questions)),
    )
    removed = {
        name: examples.by_answer[name] + examples.by_question[name] for name in HELD_OUT
    }
    return OverlappingDocuments(words=words, removed=removed, examples=examples)


def count_by_split(marks: pl.Series, split: pl.Series) -> dict[Split, int]:
    """Return the number of documents in each held-out split that are marked.

    Args:
        marks: Whether a document is marked (bool, [documents]).
        split: Split of each document ([documents]).
    """
    return {name: int((marks & (split == name)).sum()) for name in HELD_OUT}


def log_removed(reason: str, counts: dict[Split, int]) -> None:
    """Tell how many documents each held-out split lost."""
    log.info("removed for %s: %s", reason, by_split(counts))


def by_split(counts: dict[Split, int]) -> str:
    """Return the numbers of the splits: `3 of validation, 0 of test`."""
    return ", ".join(f"{count:,} of {name}" for name, count in counts.items())
