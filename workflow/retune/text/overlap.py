"""Which documents share a run of words with the training text."""

from collections.abc import Iterator

import numpy as np
import polars as pl

WORD = r"\w+"  # case and punctuation do not hide a copy
CHUNK_BYTES = 32 * 2**20


def shares_words_with(texts: pl.Series, train: pl.Series, words: int) -> pl.Series:
    """Tell for each text whether some `words` words in a row also occur in `train`.

    Runs are compared by 64-bit hashes of their words. Only the runs of `texts` are
    held in memory; `train`, usually much larger, is read through in chunks.

    Args:
        texts: Documents to judge (string).
        train: Documents to look in (string).
        words: Length of a run, at least 1. A shorter document shares none.

    Returns:
        One boolean per text.
    """
    document, word = split_into_words(texts)
    vocabulary = pl.Enum(word.unique().sort())
    word_hashes = np.random.default_rng(0).integers(
        2**64, size=len(vocabulary.categories), dtype=np.uint64
    )
    start, hashes = hash_runs(document, word.cast(vocabulary), word_hashes, words)
    wanted, run = np.unique(hashes, return_inverse=True)
    is_in_train = np.zeros(len(wanted), dtype=bool)
    for chunk in chunks_of(train, CHUNK_BYTES):
        chunk_document, chunk_word = split_into_words(chunk)
        # A word that no text holds becomes null and ends every run over it.
        known = chunk_word.cast(vocabulary, strict=False)
        _, found = hash_runs(chunk_document, known, word_hashes, words)
        is_in_train |= contains(np.sort(found), wanted)
    shares = np.zeros(len(texts), dtype=bool)
    shares[document[start[is_in_train[run]]]] = True
    return pl.Series(shares)


def split_into_words(texts: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Return all words in order, in lower case, and the document of each."""
    lists = texts.str.to_lowercase().str.extract_all(WORD)
    document = np.repeat(np.arange(len(texts)), lists.list.len().to_numpy())
    return document, lists.filter(lists.list.len() > 0).explode()


def hash_runs(
    document: np.ndarray, word: pl.Series, word_hashes: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each run of known words within one document starts, and its hash.

    Args:
        document: Document of each word, ascending (int64, [words]).
        word: The words (Enum, [words]); null where unknown.
        word_hashes: Random number of each known word (uint64, [vocabulary]).
        length: Words per run.

    Returns:
        First word of each run (int64, [runs]) and the hash (uint64, [runs]): the
        polynomial of its words' random numbers, modulo 2**64.
    """
    windows = len(word) - length + 1
    if windows <= 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
    unknown = np.cumsum(np.concatenate([[0], word.is_null().to_numpy()]))
    start = np.flatnonzero(
        (document[:windows] == document[length - 1 :])
        & (unknown[:windows] == unknown[length:])
    )
    code = word.to_physical().fill_null(0).to_numpy()
    multiplier = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd
    hashes = np.zeros(len(start), dtype=np.uint64)
    for offset in range(length):
        hashes = hashes * multiplier + word_hashes[code[start + offset]]
    return start, hashes


def contains(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Tell for each of `wanted` (sorted) whether it is among `values`.

    Sorted `values` give the same answer several times faster.
    """
    found = np.zeros(len(wanted), dtype=bool)
    position = np.searchsorted(wanted, values)
    inside = position < len(wanted)
    position, values = position[inside], values[inside]
    found[position[wanted[position] == values]] = True
    return found


def chunks_of(texts: pl.Series, size: int) -> Iterator[pl.Series]:
    """Yield consecutive texts of about `size` bytes together, at least one each."""
    chunk = (texts.str.len_bytes().cast(pl.Int64).cum_sum() // size).to_numpy()
    edges = np.flatnonzero(np.diff(chunk, prepend=-1, append=np.iinfo(np.int64).max))
    for first, end in zip(edges[:-1], edges[1:], strict=True):
        yield texts.slice(first, end - first)
