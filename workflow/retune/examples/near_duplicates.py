"""Documents that say nearly the same, of which one is enough.

Two documents are compared by their runs of five words: by the part of all runs of both
that both have (Jaccard similarity). MinHash estimates it from 128 numbers of each
(Broder, "On the resemblance and containment of documents", 1997), and documents are
only compared where some of these numbers are equal (Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3).
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from rensa import RMinHash

from retune.examples.document_kinds import TEXTS, kind_of
from retune.examples.shared_runs import chunks_of, hash_runs, split_into_words

WORDS_OF_RUN = 5
NUMBERS = 128
# Numbers that must be equal for two documents to be compared. With four, two documents
# of similarity 0.7 are missed once in 5,000 times.
NUMBERS_PER_BAND = 4
CHUNK_BYTES = 32 * 2**20


def drop_near_duplicates(
    documents: pl.DataFrame, similarity: float | None
) -> pl.DataFrame:
    """Keep the first of documents that say nearly the same.

    Args:
        documents: Documents, those that stay before those that may go: text, or
            question and answer.
        similarity: From 0 to 1: what is as similar goes; None: nothing goes.
    """
    if similarity is None:
        return documents
    texts = documents.select(
        pl.concat_str(TEXTS[kind_of(documents.columns)], separator="\n")
    ).to_series()
    return documents.filter(~pl.Series(resembles_earlier(texts, similarity)))


def resembles_earlier(texts: pl.Series, similarity: float) -> np.ndarray:
    """Return for each text whether one before it is as similar, bool [texts].

    Args:
        texts: The texts (string, [texts]). One of fewer than five words resembles none.
        similarity: Similarity from 0 to 1.
    """
    numbers = np.concatenate(list(numbers_of(texts)))
    has_runs = (numbers != numbers_of_nothing()).any(axis=1)
    found = np.zeros(len(texts), bool)
    for first in range(0, NUMBERS, NUMBERS_PER_BAND):
        band = np.ascontiguousarray(numbers[:, first : first + NUMBERS_PER_BAND])
        keys = band.view(np.dtype((np.void, band.dtype.itemsize * band.shape[1])))
        _, earliest, group = np.unique(
            keys.ravel(), return_index=True, return_inverse=True
        )
        other = earliest[group]
        (place,) = np.nonzero((other < np.arange(len(texts))) & has_runs & ~found)
        equal = (numbers[place] == numbers[other[place]]).mean(axis=1)
        found[place[equal >= similarity]] = True
    return found


def numbers_of(texts: pl.Series) -> Iterator[np.ndarray]:
    """Yield the MinHash of each text, uint32 [some texts, NUMBERS]."""
    for chunk in chunks_of(texts, CHUNK_BYTES):
        document, word = split_into_words(chunk)
        start, runs = hash_runs(
            *(document, word.hash(0).to_numpy()),
            *(np.zeros(len(word), bool), WORDS_OF_RUN),
        )
        counts = np.bincount(document[start], minlength=len(chunk))
        yield minhash(runs, np.concatenate([[0], np.cumsum(counts)]))


def minhash(runs: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the MinHash of each document, uint32 [documents, NUMBERS].

    Args:
        runs: Hashes of the runs of all documents, uint64 [runs].
        ends: Where each document's runs begin, and where the last one's end, int64
            [documents + 1].
    """
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        runs, ends.astype(np.uint64), NUMBERS, 0
    )
    return np.array(matrix.to_rows(), np.uint32).reshape(-1, NUMBERS)


def numbers_of_nothing() -> np.ndarray:
    """Return the MinHash of a document without runs, uint32 [NUMBERS]."""
    return minhash(np.empty(0, np.uint64), np.zeros(2, np.int64))[0]
