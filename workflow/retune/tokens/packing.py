"""Blocks of packed documents, as batches with positions and labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from retune.artifacts.tokens_index import TokensIndex
from retune.settings import Split
from retune.tokens.store import open_starts, open_tokens

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
        position_ids: Position of each token in its document or, for a document that
            began in an earlier block, in this block. A restart at 0 is what keeps
            documents from attending to each other (with attention_mask=None and
            use_cache=False, transformers derives the block-diagonal mask from it).
        labels: The token that follows, IGNORE_INDEX at the end of a document and of
            the block. Already shifted: labels[i, t] is predicted from logits[i, t].
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
        self._stream = open_tokens(folder, split, index)
        self._starts = open_starts(folder, split)

    def __len__(self) -> int:
        """Return the number of whole blocks; the tokens after them are unused."""
        return len(self._stream) // self.sequence_length

    def batch(self, blocks: np.ndarray) -> Batch:
        """Return the blocks of these numbers, int64 [sequences]."""
        rows = [self._block(int(block)) for block in blocks]
        return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))

    def num_labels(self, blocks: np.ndarray) -> int:
        """Return how many tokens of these blocks are predicted.

        It is what the sum of their losses is divided by.
        """
        first, last = self._documents_within(blocks)
        return int((self.sequence_length - 1 - (last - first)).sum())

    def documents_of(self, blocks: np.ndarray) -> np.ndarray:
        """Return the numbers of the documents in these blocks, from 0, ascending."""
        first, last = self._documents_within(blocks)
        rows = [np.arange(*span) for span in zip(first - 1, last, strict=True)]
        return np.unique(np.concatenate(rows))

    def _block(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        start, length = block * self.sequence_length, self.sequence_length
        input_ids = self._stream[start : start + length].astype(np.int64)
        segments = self._segment_starts(block)
        sizes = np.diff(np.append(segments, length))
        position_ids = np.arange(length) - np.repeat(segments, sizes)
        labels = np.append(input_ids[1:], IGNORE_INDEX)
        labels[segments[1:] - 1] = IGNORE_INDEX
        return input_ids, position_ids, labels

    def _segment_starts(self, block: int) -> np.ndarray:
        """Return where in the block a document, or the rest of one, starts."""
        first, last = self._documents_within(np.array(block))
        starts = self._starts[first:last] - block * self.sequence_length
        return np.append(0, starts)

    def _documents_within(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the documents that start within each block.

        A document that starts with the block's first token is not counted.

        Returns:
            Number of the first such document, and number after the last one.
        """
        starts = blocks * self.sequence_length
        first = np.searchsorted(self._starts, starts + 1)
        return first, np.searchsorted(self._starts, starts + self.sequence_length)
