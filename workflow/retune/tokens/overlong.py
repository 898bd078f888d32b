"""What becomes of the sequences that are longer than a block."""

import numpy as np

from retune.errors import RetuneError
from retune.quantities import counted
from retune.settings import Split
from retune.settings.tokenize import Overlong
from retune.tokens.segments import Segments


def fit_to_length(sequences: Segments, length: int, overlong: Overlong) -> Segments:
    """Return what of the sequences may fill blocks, in their order.

    Args:
        sequences: The whole sequences.
        length: Most tokens that a part may have.
        overlong: What becomes of those that are longer.
    """
    starts, sizes = sequences.starts, sequences.sizes
    if overlong == "split":
        return cut_to_pieces(sequences, length)
    if overlong == "truncate_left":
        return Segments(starts + np.maximum(sizes - length, 0), fitting(sizes, length))
    if overlong == "truncate_right":
        return Segments(starts, fitting(sizes, length))
    return sequences.take(sizes <= length)


def fitting(sizes: np.ndarray, length: int) -> np.ndarray:
    """Return how many tokens of each sequence fit into a block."""
    return np.minimum(sizes, length)


def cut_to_pieces(sequences: Segments, length: int) -> Segments:
    """Return the sequences, cut after every `length` tokens."""
    counts = -(-sequences.sizes // length)
    first_pieces = np.cumsum(counts) - counts
    number_in_sequence = np.arange(counts.sum()) - np.repeat(first_pieces, counts)
    offsets = number_in_sequence * length
    sizes = np.repeat(sequences.sizes, counts) - offsets
    starts = np.repeat(sequences.starts, counts) + offsets
    return Segments(starts, fitting(sizes, length))


def refuse_overlong(sizes: np.ndarray, length: int, split: Split) -> None:
    """Raise RetuneError if a sequence is longer than a block.

    Args:
        sizes: Number of tokens of each sequence of a split, int32 [sequences].
        length: Tokens per block.
        split: The split.
    """
    too_long = np.flatnonzero(sizes > length)
    if not len(too_long):
        return
    first = int(too_long[0])
    more = len(too_long) - 1
    raise RetuneError(
        f"tokenize.overlong: error, and row {first} (counted from 0) of {split} has"
        f" {sizes[first]:,} tokens, more than tokenize.sequence_length ({length:,})"
        + (f", like {counted(more, 'other row')}" if more else "")
        + "; write a greater one, or drop, truncate_left, truncate_right or split"
    )
