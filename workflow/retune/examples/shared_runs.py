"""How much of a text is runs of words that the training text has, too."""

from collections.abc import Iterator

import numpy as np
import polars as pl

# Texts are compared word by word in lower case, so that neither case nor punctuation
# hides a copy.
WORD = r"\w+"
CHUNK_BYTES = 32 * 2**20


def shared_part(texts: pl.Series, train: pl.Series, words: int) -> pl.Series:
    """Return for each text which part of its runs of `words` words occur in `train`.

    Runs are compared by 64-bit hashes of their words. Only the runs of `texts` are
    held in memory; `train`, usually much larger, is read through in chunks.

    Args:
        texts: Texts to judge (string, [texts]).
        train: Texts of the training split (string, any length).
        words: Length of a run, at least 1. A text with fewer words has none.

    Returns:
        Numbers from 0 to 1 (float64, [texts]).
    """
    document, word = split_into_words(texts)
    vocabulary = pl.Enum(word.unique().sort())
    word_hashes = np.random.default_rng(0).integers(
        2**64, size=len(vocabulary.categories), dtype=np.uint64
    )
    known = word.cast(vocabulary)
    start, hashes = hash_runs(
        *(document, numbers_of_words(known, word_hashes)),
        *(known.is_null().to_numpy(), words),
    )
    wanted, run = np.unique(hashes, return_inverse=True)
    is_in_train = np.zeros(len(wanted), dtype=bool)
    for chunk in chunks_of(train, CHUNK_BYTES):
        chunk_document, chunk_word = split_into_words(chunk)
        # A word that no text holds becomes null and ends every run over it.
        known = chunk_word.cast(vocabulary, strict=False)
        _, found = hash_runs(
            *(chunk_document, numbers_of_words(known, word_hashes)),
            *(known.is_null().to_numpy(), words),
        )
        is_in_train |= contains(np.sort(found), wanted)
    runs = np.bincount(document[start], minlength=len(texts))
    shared = np.bincount(document[start[is_in_train[run]]], minlength=len(texts))
    return pl.Series(shared / np.maximum(runs, 1))


def split_into_words(texts: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Return the document of each word (int64, [words]), and the words in order.

    The words are in lower case.
    """
    lists = texts.str.to_lowercase().str.extract_all(WORD)
    document = np.repeat(np.arange(len(texts)), lists.list.len().to_numpy())
    return document, lists.filter(lists.list.len() > 0).explode()


def numbers_of_words(word: pl.Series, numbers: np.ndarray) -> np.ndarray:
    """Return the number of each word, uint64 [words]; 0 for an unknown one.

    Args:
        word: The words (Enum, [words]); null where unknown.
        numbers: Number of each word of the vocabulary (uint64, [vocabulary]).
    """
    known = (~word.is_null()).to_numpy()
    found = np.zeros(len(word), dtype=np.uint64)
    found[known] = numbers[word.drop_nulls().to_physical().to_numpy()]
    return found


def hash_runs(
    document: np.ndarray, numbers: np.ndarray, is_unknown: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each run of known words within one document starts, and its hash.

    Args:
        document: Document of each word, ascending (int64, [words]).
        numbers: Random number of each word (uint64, [words]).
        is_unknown: Whether a word ends every run over it (bool, [words]).
        length: Number of words per run.

    Returns:
        Index of the first word of each run (int64, [runs]), and the hash of each run
        (uint64, [runs]): the polynomial of its words' random numbers, modulo 2**64.
    """
    windows = len(numbers) - length + 1
    if windows <= 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
    unknown = np.cumsum(np.concatenate([[0], is_unknown]))
    start = np.flatnonzero(
        (document[:windows] == document[length - 1 :])
        & (unknown[:windows] == unknown[length:])
    )
    multiplier = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd
    hashes = np.zeros(len(start), dtype=np.uint64)
    for offset in range(length):
        hashes = hashes * multiplier + numbers[start + offset]
    return start, hashes


def contains(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return for each wanted number whether it is among `values`.

    Args:
        values: Numbers to search ([values]); if they are sorted, this is several times
            faster.
        wanted: Numbers to search for, ascending ([wanted]).

    Returns:
        Booleans ([wanted]).
    """
    found = np.zeros(len(wanted), dtype=bool)
    position = np.searchsorted(wanted, values)
    inside = position < len(wanted)
    position, values = position[inside], values[inside]
    found[position[wanted[position] == values]] = True
    return found


def chunks_of(texts: pl.Series, size: int) -> Iterator[pl.Series]:
    """Yield chunks of consecutive texts, at least one, of about `size` bytes."""
    chunk = (texts.str.len_bytes().cast(pl.Int64).cum_sum() // size).to_numpy()
    edges = np.flatnonzero(np.diff(chunk, prepend=-1, append=np.iinfo(np.int64).max))
    for first, end in zip(edges[:-1], edges[1:], strict=True):
        yield texts.slice(first, end - first)
