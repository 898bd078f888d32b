"""Packs a split's sequences into blocks, once the split is written.

Memory grows with the number of sequences and blocks, and not with that of tokens.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retune.artifacts.tokens_index import Overlong as OverlongNumbers
from retune.settings import Split
from retune.settings.tokenize import Overlong, Packing
from retune.tokens.filling import best_fit, wrap
from retune.tokens.overlong import fit_to_length, refuse_overlong
from retune.tokens.segments import Segments
from retune.tokens.store import (
    COUNT,
    PLACE,
    blocks_file,
    labels_file,
    open_array,
    open_starts,
    open_trained,
    segments_file,
    tokens_file,
)
from retune.tokens.trained_bits import TrainedBits


@dataclass(frozen=True)
class Packed:
    """What packing a split came to.

    Attributes:
        blocks: Number of blocks.
        trained_tokens: Number of tokens that are predicted in the blocks.
        tokens: Number of tokens in the blocks, without padding.
        padding: Number of tokens that fill blocks up.
        left_out_blocks: Number of blocks that `wrap` has left out, because nothing in
            them is predicted.
        overlong: What became of the sequences that are longer than a block.
    """

    blocks: int
    trained_tokens: int
    tokens: int
    padding: int
    left_out_blocks: int
    overlong: OverlongNumbers


@dataclass(frozen=True)
class Filling:
    """Which segments fill which blocks.

    Attributes:
        segments: The segments, block after block.
        blocks: Number of the block of each segment, ascending, int64 [segments].
        predicted: Number of predicted tokens of each segment, int64 [segments].
    """

    segments: Segments
    blocks: np.ndarray
    predicted: np.ndarray


def pack_split(
    folder: Path,
    split: Split,
    dtype: np.dtype,
    length: int,
    packing: Packing,
    overlong: Overlong,
    has_answers: bool,
) -> Packed:
    """Write the segments, blocks and labels of a split, see `retune.tokens.store`.

    Each block predicts at least one token, so that a mean over its labels exists.

    Args:
        folder: Folder of tokens, in which `written_split` has written the split.
        split: The split.
        dtype: Dtype of a token.
        length: Tokens per block.
        packing: How sequences fill the blocks.
        overlong: What becomes of sequences that are longer than a block, unless
            `packing` is `wrap`.
        has_answers: Whether only some of the tokens are trained.

    Raises:
        RetuneError: If a sequence is longer than a block and `overlong` is `error`.
    """
    num_tokens = len(open_array(tokens_file(folder, split), dtype))
    starts = open_starts(folder, split)
    trained = open_trained(folder, split, has_answers)
    numbers = OverlongNumbers()
    if packing == "wrap":
        filling = wrap_all(starts, num_tokens, length, trained)
    else:
        sequences = Segments(starts, np.diff(starts, append=num_tokens))
        if overlong == "error":
            refuse_overlong(sequences.sizes, length, split)
        filling, numbers = pack_whole(sequences, length, packing, overlong, trained)
    return write_blocks(folder, split, length, filling, numbers)


def wrap_all(
    starts: np.ndarray, num_tokens: int, length: int, trained: TrainedBits | None
) -> Filling:
    """Return blocks of the tokens one after another.

    Args:
        starts: Positions at which sequences start, int64 [sequences].
        num_tokens: Number of tokens.
        length: Tokens per block.
        trained: Which tokens are trained; None if all are.
    """
    bounds = wrap(starts, num_tokens, length)
    used = num_tokens // length * length
    segments = Segments(bounds, np.diff(bounds, append=used))
    return Filling(segments, bounds // length, segments.count_predicted(trained))


def pack_whole(
    sequences: Segments,
    length: int,
    packing: Packing,
    overlong: Overlong,
    trained: TrainedBits | None,
) -> tuple[Filling, OverlongNumbers]:
    """Return blocks of whole sequences, and what became of those that are too long.

    Args:
        sequences: The whole sequences.
        length: Tokens per block.
        packing: `best_fit` or `none`.
        overlong: What becomes of sequences that are longer than a block.
        trained: Which tokens are trained; None if all are.
    """
    parts = fit_to_length(sequences, length, overlong)
    predicted = parts.count_predicted(trained)
    is_learnt = predicted > 0
    segments, predicted = parts.take(is_learnt), predicted[is_learnt]
    if packing == "best_fit":
        blocks = best_fit(segments.sizes, length)
    else:
        blocks = np.arange(len(segments))
    order = np.argsort(blocks, kind="stable")
    filling = Filling(segments.take(order), blocks[order], predicted[order])
    numbers = count_overlong(sequences, length, overlong, is_learnt)
    return filling, numbers


def count_overlong(
    sequences: Segments, length: int, overlong: Overlong, is_learnt: np.ndarray
) -> OverlongNumbers:
    """Return what became of the sequences that are longer than a block.

    Args:
        sequences: The whole sequences.
        length: Tokens per block.
        overlong: What becomes of sequences that are longer than a block.
        is_learnt: Whether anything is predicted in each part that may fill a block,
            bool [parts].
    """
    is_long = sequences.sizes > length
    dropped = int((~is_learnt).sum())
    if overlong == "drop":
        return OverlongNumbers(dropped=dropped + int(is_long.sum()))
    if overlong == "split":
        return OverlongNumbers(dropped=dropped, split=int(is_long.sum()))
    return OverlongNumbers(dropped=dropped, truncated=int((is_long & is_learnt).sum()))


def write_blocks(
    folder: Path, split: Split, length: int, filling: Filling, numbers: OverlongNumbers
) -> Packed:
    """Write the blocks in which something is predicted.

    Args:
        folder: Folder of tokens.
        split: The split.
        length: Tokens per block.
        filling: Which segments fill which blocks.
        numbers: What became of the sequences that are longer than a block.
    """
    segments, predicted = filling.segments, filling.predicted
    firsts = np.flatnonzero(np.diff(filling.blocks, prepend=-1))
    labels = np.add.reduceat(predicted, firsts) if len(firsts) else predicted
    counts = np.diff(firsts, append=len(segments))
    is_learnt = labels > 0
    segments = segments.take(np.repeat(is_learnt, counts))
    labels, counts = labels[is_learnt], counts[is_learnt]
    rows = np.stack([segments.starts, segments.sizes], axis=1)
    rows.astype(PLACE).tofile(segments_file(folder, split))
    (np.cumsum(counts) - counts).astype(PLACE).tofile(blocks_file(folder, split))
    labels.astype(COUNT).tofile(labels_file(folder, split))
    tokens = int(segments.sizes.sum())
    return Packed(
        blocks=len(labels),
        trained_tokens=int(labels.sum()),
        tokens=tokens,
        padding=len(labels) * length - tokens,
        left_out_blocks=int((~is_learnt).sum()),
        overlong=numbers,
    )
