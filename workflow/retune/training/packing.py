"""Blocks of packed documents."""

from dataclasses import dataclass
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
    """Blocks of one split, read through memory maps: any size, no start-up cost."""

    def __init__(self, folder: Path, split: str) -> None:
        """Open what `tokenize` wrote into `folder`."""
        facts = read_json(folder / "tokens.json")
        self.sequence_length: int = facts["sequence_length"]
        self._stream = np.memmap(
            folder / f"{split}.tokens.bin", dtype=np.dtype(facts["dtype"]), mode="r"
        )
        self._starts = np.memmap(
            folder / f"{split}.documents.bin", dtype=np.dtype("<i8"), mode="r"
        )

    def __len__(self) -> int:
        """Return the number of whole blocks; a rest shorter than one is unused."""
        return len(self._stream) // self.sequence_length

    def batch(self, blocks: np.ndarray) -> Batch:
        """Return these blocks."""
        rows = [self._block(int(block)) for block in blocks]
        return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))

    def num_labels(self, blocks: np.ndarray) -> int:
        """Return how many tokens of these blocks are predicted: the loss's divisor."""
        first, last = self._documents_within(blocks)
        return int((self.sequence_length - 1 - (last - first)).sum())

    def documents_of(self, blocks: np.ndarray) -> np.ndarray:
        """Return which documents these blocks show, from 0, sorted, each once."""
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
        """Return the numbers, from and before which documents start within a block.

        A document that starts with the block's first token is not counted.
        """
        starts = blocks * self.sequence_length
        first = np.searchsorted(self._starts, starts + 1)
        return first, np.searchsorted(self._starts, starts + self.sequence_length)
