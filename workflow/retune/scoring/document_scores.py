"""The scores of validation and test: one row per document, and their sums."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.errors import RetuneError
from retune.publishing import sync
from retune.scoring.language_model import LanguageModel
from retune.scoring.perplexity import Protocol, score_tokens

SPLITS = ("validation", "test")
# Of data/clean.
NOT_READ = ("train.parquet", "rejected.parquet")


def read_documents(clean: Path) -> pa.Table:
    """Return the documents of all SPLITS: split, id, text, bytes (UTF-8) and words.

    Words are counted as lm-evaluation-harness does.
    """
    tables = []
    for split in SPLITS:
        table = pq.read_table(clean / f"{split}.parquet", columns=["id", "text"])
        texts = table["text"].to_pylist()
        columns = {
            "split": pa.array([split] * len(texts), pa.string()),
            "id": table["id"].cast(pa.string()),
            "text": table["text"],
            "bytes": pa.array([len(text.encode()) for text in texts], pa.int64()),
            "words": pa.array(
                [len(re.split(r"\s+", text)) for text in texts], pa.int64()
            ),
        }
        tables.append(pa.table(columns))
    if tables[-1].num_rows == 0:
        raise RetuneError(
            f"{clean / 'test.parquet'} has no document to evaluate on: raise"
            " prepare.test_share, or give the dataset a test split"
        )
    return pa.concat_tables(tables)


def documents_of(table: pa.Table, split: str) -> pa.Table:
    """Return one split's rows."""
    return table.filter(pc.equal(table["split"], split))


def score_documents(
    step: str,
    language_model: LanguageModel,
    documents: pa.Table,
    tokens: Sequence[np.ndarray],
    protocol: Protocol,
    batch_size: int,
) -> pa.Table:
    """Return the documents' split, id, nll (nats), tokens, bytes and words.

    Args:
        step: Named on the progress bar.
        language_model: What predicts them.
        documents: As `read_documents` returns them.
        tokens: Of each of them.
        protocol: How.
        batch_size: Windows per forward pass.
    """
    nll = score_tokens(step, language_model, tokens, protocol, batch_size)
    return pa.table(
        {
            "split": documents["split"],
            "id": documents["id"],
            "nll": nll,
            "tokens": pa.array([len(ids) for ids in tokens], pa.int64()),
            "bytes": documents["bytes"],
            "words": documents["words"],
        }
    )


def summarize(scores: pa.Table) -> dict[str, float | None]:
    """Return the totals of scored documents and the ratios of these totals."""
    num_bytes, words, tokens, nll = (
        pc.sum(scores[name], min_count=0).as_py()
        for name in ("bytes", "words", "tokens", "nll")
    )
    return {
        "documents": scores.num_rows,
        "bytes": num_bytes,
        "words": words,
        "tokens": tokens,
        "nll": nll,
        "bits_per_byte": nll / math.log(2) / num_bytes if num_bytes else None,
        "token_perplexity": perplexity(nll, tokens),
        "word_perplexity": perplexity(nll, words),
    }


def perplexity(nll: float, count: int) -> float | None:
    """Return exp(nll / count); None, JSON's null, where float64 cannot hold it."""
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
