"""Packs a split's sequences into blocks, once the split is written.

The sequences of each source are packed by themselves, so that a block holds nothing of
another source. Memory does not grow where sequences are wrapped; otherwise it grows
with the number of parts that fill blocks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO, Self

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
    TOKENS_AT_ONCE,
    blocks_file,
    labels_file,
    open_array,
    open_starts,
    open_trained,
    segments_file,
    sequence_sizes,
    tokens_file,
)
from retune.tokens.trained_bits import TrainedBits


@dataclass(frozen=True)
class Packed:
    """What packing a split came to, or one source in it.

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

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """Return what all parts of a split came to together."""
        overlong = [part.overlong for part in parts]
        return cls(
            blocks=sum(part.blocks for part in parts),
            trained_tokens=sum(part.trained_tokens for part in parts),
            tokens=sum(part.tokens for part in parts),
            padding=sum(part.padding for part in parts),
            left_out_blocks=sum(part.left_out_blocks for part in parts),
            overlong=OverlongNumbers(
                dropped=sum(numbers.dropped for numbers in overlong),
                truncated=sum(numbers.truncated for numbers in overlong),
                split=sum(numbers.split for numbers in overlong),
            ),
        )


@dataclass(frozen=True)
class Filling:
    """Which segments fill which blocks.

    Attributes:
        segments: The segments, block after block.
        blocks: Number of the block of each segment, ascending, int64 [segments].
        predicted: Number of predicted tokens of each segment, int32 or int64
            [segments].
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
    sources: Sequence[int] = (),
) -> list[Packed]:
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
        sources: Number of sequences of each source, which are one after another; none
            if all sequences are packed together.

    Returns:
        What each source came to, or what all sequences came to.

    Raises:
        RetuneError: If a sequence is longer than a block and `overlong` is `error`.
    """
    num_tokens = len(open_array(tokens_file(folder, split), dtype))
    starts = open_starts(folder, split)
    trained = open_trained(folder, split, has_answers)
    # Nothing is trained on the test split, whose sequences are scored whole.
    if overlong == "error" and packing != "wrap" and split != "test":
        refuse_overlong(sequence_sizes(starts, num_tokens), length, split)
    packed = []
    with written_blocks(folder, split, length) as writer:
        for first, after in pairwise([0, *accumulate(sources or [len(starts)])]):
            end = num_tokens if after == len(starts) else int(starts[after])
            part = starts[first:after]
            if packing == "wrap":
                fillings = wrap_all(part, end, length, trained)
                parts = [writer.append(each, OverlongNumbers()) for each in fillings]
            else:
                sequences = Segments(part, sequence_sizes(part, end))
                whole = pack_whole(sequences, length, packing, overlong, trained)
                parts = [writer.append(*whole)]
            packed.append(Packed.total(parts))
    return packed


def wrap_all(
    starts: np.ndarray, end: int, length: int, trained: TrainedBits | None
) -> Iterator[Filling]:
    """Yield blocks of the tokens one after another, some blocks at a time.

    The tokens after the last whole block are in none.

    Args:
        starts: Positions at which sequences start, one after another, int64
            [sequences].
        end: Position after the last sequence.
        length: Tokens per block.
        trained: Which tokens are trained; None if all are.
    """
    first = int(starts[0]) if len(starts) else end
    used = first + (end - first) // length * length
    step = max(TOKENS_AT_ONCE // length, 1) * length
    for start in range(first, used, step):
        stop = min(start + step, used)
        bounds = wrap(starts, start, stop, length)
        segments = Segments(bounds, np.diff(bounds, append=stop))
        blocks = (bounds - first) // length
        yield Filling(segments, blocks, segments.count_predicted(trained))


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


class BlocksWriter:
    """Writes the blocks of a split in which something is predicted."""

    def __init__(
        self, segments: BinaryIO, firsts: BinaryIO, labels: BinaryIO, length: int
    ) -> None:
        """Write into open files.

        Args:
            segments: File of the segments.
            firsts: File of the number of the first segment of each block.
            labels: File of the number of predicted tokens of each block.
            length: Tokens per block.
        """
        self._files = segments, firsts, labels
        self._length = length
        self._num_segments = 0

    def append(self, filling: Filling, numbers: OverlongNumbers) -> Packed:
        """Write blocks; return what packing them came to.

        Args:
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
        firsts = self._num_segments + np.cumsum(counts) - counts
        self._num_segments += len(segments)
        of_segments, of_firsts, of_labels = self._files
        rows.astype(PLACE).tofile(of_segments)
        firsts.astype(PLACE).tofile(of_firsts)
        labels.astype(COUNT).tofile(of_labels)
        tokens = int(segments.sizes.sum())
        return Packed(
            blocks=len(labels),
            trained_tokens=int(labels.sum()),
            tokens=tokens,
            padding=len(labels) * self._length - tokens,
            left_out_blocks=int((~is_learnt).sum()),
            overlong=numbers,
        )


@contextmanager
def written_blocks(folder: Path, split: Split, length: int) -> Iterator[BlocksWriter]:
    """Yield what writes the blocks of a split; the files are closed afterwards.

    Args:
        folder: Folder of tokens.
        split: The split.
        length: Tokens per block.
    """
    with (
        segments_file(folder, split).open("wb") as segments,
        blocks_file(folder, split).open("wb") as firsts,
        labels_file(folder, split).open("wb") as labels,
    ):
        yield BlocksWriter(segments, firsts, labels, length)
