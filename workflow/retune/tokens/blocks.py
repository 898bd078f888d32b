"""Blocks of packed sequences, as batches with positions and labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from retune.artifacts.tokens_index import TokensIndex
from retune.settings import Split
from retune.tokens.store import (
    COUNT,
    PLACE,
    blocks_file,
    labels_file,
    open_array,
    open_starts,
    open_tokens,
    open_trained,
    segments_file,
)

if TYPE_CHECKING:
    import torch

# The label of a position at which nothing is predicted.
IGNORE_INDEX = -100

Array: TypeAlias = "np.ndarray | torch.Tensor"


@dataclass(frozen=True)
class Batch:
    """Packed sequences, all int64 [sequences, sequence_length].

    The three are arrays, or tensors once they are in pinned memory.

    Attributes:
        input_ids: The tokens.
        position_ids: Position of each token in its segment: a sequence, or the part of
            one that is in this block. A restart at 0 is what keeps segments from
            attending to each other (with attention_mask=None and use_cache=False,
            transformers derives the block-diagonal mask from it).
        labels: The token that follows if it is trained and of the same segment,
            otherwise IGNORE_INDEX. Already shifted: labels[i, t] is predicted from
            logits[i, t].
    """

    input_ids: Array
    position_ids: Array
    labels: Array


class PackedBlocks:
    """The blocks of one split, read through memory maps: any size, no start-up cost.

    Attributes:
        sequence_length: Number of tokens per block.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        """Open a split of the folder of tokens that `tokenize` made."""
        index = TokensIndex.read(folder)
        self.sequence_length = index.sequence_length
        self._padding = index.eos_token_id
        self._tokens = open_tokens(folder, split, index)
        self._starts = open_starts(folder, split)
        self._trained = open_trained(folder, split, index.has_answers)
        self._segments = open_array(segments_file(folder, split), PLACE).reshape(-1, 2)
        self._firsts = open_array(blocks_file(folder, split), PLACE)
        self._labels = open_array(labels_file(folder, split), COUNT)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._firsts)

    def batch(self, blocks: np.ndarray) -> Batch:
        """Return the blocks of these numbers, int64 [sequences]."""
        rows = [self._block(int(block)) for block in blocks]
        return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))

    def num_labels(self, blocks: np.ndarray) -> int:
        """Return how many tokens of these blocks are predicted, at least one in each.

        It is what the sum of their losses is divided by.
        """
        return int(self._labels[blocks].sum())

    def sequences_of(self, blocks: np.ndarray) -> np.ndarray:
        """Return the numbers of the sequences in these blocks, from 0, ascending."""
        starts = [self._segments_of(int(block))[:, 0] for block in blocks]
        places = np.concatenate(starts)
        return np.unique(np.searchsorted(self._starts, places, side="right") - 1)

    def _segments_of(self, block: int) -> np.ndarray:
        """Return start and size of each segment of a block, int64 [segments, 2]."""
        is_last = block + 1 == len(self._firsts)
        end = len(self._segments) if is_last else self._firsts[block + 1]
        return self._segments[self._firsts[block] : end]

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens, positions and labels; what is left is padded with EOS.

        The padding is a segment by itself, of which nothing is predicted.
        """
        starts, sizes = self._segments_of(block).T
        ends = np.cumsum(sizes)
        used, length = int(ends[-1]), self.sequence_length
        input_ids = np.full(length, self._padding)
        position_ids = np.arange(length)
        position_ids[:used] -= np.repeat(ends - sizes, sizes)
        position_ids[used:] -= used
        places = np.repeat(starts, sizes) + position_ids[:used]
        input_ids[:used] = self._tokens[places]
        is_predicted = position_ids[:used] > 0
        if self._trained:
            is_predicted &= self._trained.at(places)
        labels = np.full(length, IGNORE_INDEX)
        labels[: used - 1][is_predicted[1:]] = input_ids[1:used][is_predicted[1:]]
        return input_ids, position_ids, labels
