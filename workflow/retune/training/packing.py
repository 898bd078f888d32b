"""Blocks of packed documents, and the order in which training sees them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from retune.publishing import read_json

IGNORE_INDEX = -100


@dataclass(frozen=True)
class Batch:
    """Packed sequences, all int64 [sequences, sequence_length].

    Attributes:
        input_ids: Tokens.
        position_ids: Position of each token in its document or, for a document that
            began in an earlier block, in this block. A restart at 0 is what keeps
            documents from attending to each other (with attention_mask=None and
            use_cache=False, transformers derives the block-diagonal mask from it).
        labels: The token that follows, IGNORE_INDEX at the end of a document and of
            the block. Already shifted: labels[i, t] is predicted from logits[i, t].
    """

    input_ids: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray


class PackedBlocks:
    """Blocks of one split, read through a memory map: any size, no start-up cost."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open what `tokenize` wrote into `folder`."""
        facts = read_json(folder / "tokens.json")
        self.sequence_length: int = facts["sequence_length"]
        self._stream = np.memmap(
            folder / f"{split}.tokens.bin", dtype=np.dtype(facts["dtype"]), mode="r"
        )
        self._starts = np.fromfile(folder / f"{split}.documents.bin", dtype="<i8")

    def __len__(self) -> int:
        """Return the number of whole blocks; a rest shorter than one is unused."""
        return len(self._stream) // self.sequence_length

    def batch(self, blocks: np.ndarray) -> Batch:
        """Return these blocks."""
        rows = [self._block(int(block)) for block in blocks]
        return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))

    def num_labels(self, blocks: np.ndarray) -> int:
        """Return how many tokens of these blocks are predicted: the loss's divisor."""
        return sum(
            self.sequence_length - len(self._segment_starts(int(block)))
            for block in blocks
        )

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
        start = block * self.sequence_length
        first, last = np.searchsorted(
            self._starts, [start + 1, start + self.sequence_length]
        )
        return np.concatenate([[0], self._starts[first:last] - start])


def blocks_of_step(
    step: int, batch_size: int, num_blocks: int, seed: int
) -> np.ndarray:
    """Return the block numbers of optimizer step `step` (from 0), int64 [batch_size].

    Each epoch is a new permutation of all blocks; a batch may span two epochs. It
    depends on nothing else, so any number of ranks, and a resumed run, see the same
    order.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // num_blocks
    blocks = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        order = order_of_epoch(int(epoch), num_blocks, seed)
        blocks[here] = order[places[here] % num_blocks]
    return blocks


@lru_cache(maxsize=2)
def order_of_epoch(epoch: int, num_blocks: int, seed: int) -> np.ndarray:
    """Return a permutation of all blocks, int64 [num_blocks]."""
    return np.random.default_rng([seed, epoch]).permutation(num_blocks)


def share_of_rank(
    blocks: np.ndarray, rank: int, world_size: int, micro_batch_size: int
) -> np.ndarray:
    """Return a rank's part of a batch, [accumulation steps, micro_batch_size]."""
    return blocks.reshape(-1, world_size, micro_batch_size)[:, rank]
