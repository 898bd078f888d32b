"""The scores of the held-out documents: one row per document, and their totals."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.artifacts.evaluation_metrics import NoScores, ScoreTotals, ScoringProtocol
from retune.artifacts.publishing import sync
from retune.errors import RetuneError
from retune.evaluation.language_model import LanguageModel
from retune.evaluation.perplexity import num_trained, score_tokens
from retune.examples.example import COLUMN as EXAMPLE
from retune.examples.example import Example, read_example
from retune.settings import HELD_OUT, Split
from retune.tokens.sequences import TokenSequence

# Files of data/clean that no evaluation reads.
NOT_READ = ("train.parquet", "rejected.parquet")


def read_documents(clean: Path) -> pa.Table:
    """Return the held-out documents.

    The columns are split, id, `text` or `example` (one line of JSON), and, of what is
    scored, bytes (UTF-8) and words: that is the text, or the answer of the example.
    Words are counted as lm-evaluation-harness does.
    """
    tables = []
    for split in HELD_OUT:
        path = clean / f"{split}.parquet"
        content = EXAMPLE if EXAMPLE in pq.read_schema(path).names else "text"
        table = pq.read_table(path, columns=["id", content])
        scored = table[content].to_pylist()
        if content == EXAMPLE:
            scored = [read_example(line).answer for line in scored]
        columns = {
            "split": pa.array([split] * len(scored), pa.string()),
            "id": table["id"].cast(pa.string()),
            content: table[content],
            "bytes": pa.array([len(text.encode()) for text in scored], pa.int64()),
            "words": pa.array(
                [len(re.split(r"\s+", text)) for text in scored], pa.int64()
            ),
        }
        tables.append(pa.table(columns))
    if tables[-1].num_rows == 0:
        raise RetuneError(
            f"{clean / 'test.parquet'} has no document to evaluate on: raise"
            " prepare.test_share, or give the dataset a test split"
        )
    return pa.concat_tables(tables)


def have_answers(documents: pa.Table) -> bool:
    """Return whether documents are examples, of which the answer is scored."""
    return EXAMPLE in documents.column_names


def examples_of(documents: pa.Table) -> list[Example]:
    """Return the examples of a table; none if its documents are texts."""
    if not have_answers(documents):
        return []
    return [read_example(line) for line in documents[EXAMPLE].to_pylist()]


def documents_of(table: pa.Table, split: Split) -> pa.Table:
    """Return the rows of one split."""
    return table.filter(pc.equal(table["split"], split))


def score_documents(
    step: str,
    language_model: LanguageModel,
    documents: pa.Table,
    encoded: Sequence[Sequence[TokenSequence]],
    protocol: ScoringProtocol,
    batch_size: int,
) -> pa.Table:
    """Return the documents' split, id, nll (nats), tokens, bytes and words.

    Args:
        step: Name of the step, for the progress bar.
        language_model: Model that scores the documents.
        documents: Table of the documents, as `read_documents` returns it.
        encoded: Sequences of each document, in the order of the table.
        protocol: Protocol by which the documents are scored.
        batch_size: Number of windows per forward pass.
    """
    nll = score_tokens(step, language_model, encoded, protocol, batch_size)
    return pa.table(
        {
            "split": documents["split"],
            "id": documents["id"],
            "nll": nll,
            "tokens": pa.array(list(map(num_trained, encoded)), pa.int64()),
            "bytes": documents["bytes"],
            "words": documents["words"],
        }
    )


def total_scores(scores: pa.Table) -> ScoreTotals:
    """Return the totals of at least one scored document, and the totals' ratios."""
    num_bytes, words, tokens, nll = (
        pc.sum(scores[name]).as_py() for name in ("bytes", "words", "tokens", "nll")
    )
    bits = nll / math.log(2)
    return ScoreTotals(
        documents=scores.num_rows,
        bytes=num_bytes,
        words=words,
        tokens=tokens,
        nll=nll,
        bits_per_byte=bits / num_bytes,
        bits_per_document=bits / scores.num_rows,
        token_perplexity=perplexity(nll, tokens),
        word_perplexity=perplexity(nll, words),
    )


def total_scores_if_any(scores: pa.Table) -> ScoreTotals | NoScores:
    """Return the totals of scored documents, of which there may be none."""
    return total_scores(scores) if scores.num_rows else NoScores()


def perplexity(nll: float, count: int) -> float | None:
    """Return exp(nll / count); None where float64 cannot hold it, or `count` is 0."""
    try:
        return math.exp(nll / count) if count else None
    except OverflowError:
        return None


def write_scores(path: Path, scores: pa.Table) -> None:
    """Write a parquet file by one atomic rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(scores, stage)
        sync(stage)
        stage.rename(path)
    finally:
        stage.unlink(missing_ok=True)
