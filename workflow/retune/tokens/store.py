"""The folder of tokens: `tokenize` writes it, training and evaluation read it.

All numbers are little-endian, and the `.bin` files have no header:

- `tokens.json`: the index, `TokensIndex`, with the dtype of the tokens and the size of
  each split.
- `SPLIT.tokens.bin`: the tokens of all documents of a split one after another, each
  document with its BOS and EOS, [tokens] of the dtype of the index.
- `SPLIT.documents.bin`: the position in `SPLIT.tokens.bin` at which each document
  starts, int64 [documents].
- `train.counts.npy`: how often each token occurs in `train.tokens.bin`, int64
  [vocab_size], in NumPy's format.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from retune.artifacts.tokens_index import TokensIndex
from retune.settings import Split

START = np.dtype("<i8")
COUNTS = "train.counts.npy"


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest dtype that holds every token of a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def tokens_file(folder: Path, split: Split) -> Path:
    """Return the file of a split's tokens."""
    return folder / f"{split}.tokens.bin"


def starts_file(folder: Path, split: Split) -> Path:
    """Return the file of the positions at which a split's documents start."""
    return folder / f"{split}.documents.bin"


class SplitWriter:
    """Writes the documents of a split one after another.

    Attributes:
        tokens: Number of tokens that it has written.
    """

    def __init__(self, tokens: BinaryIO, starts: BinaryIO, dtype: np.dtype) -> None:
        """Write into two open files.

        Args:
            tokens: File of the tokens.
            starts: File of the positions at which documents start.
            dtype: Dtype of a token.
        """
        self.tokens = 0
        self._files = tokens, starts
        self._dtype = dtype

    def append(self, document: Sequence[int]) -> None:
        """Write the tokens of a document, among them its BOS and EOS."""
        tokens, starts = self._files
        starts.write(np.array([self.tokens], START).tobytes())
        tokens.write(np.array(document, self._dtype).tobytes())
        self.tokens += len(document)


@contextmanager
def written_split(folder: Path, split: Split, dtype: np.dtype) -> Iterator[SplitWriter]:
    """Yield what writes the documents of a split; the files are closed afterwards."""
    with (
        tokens_file(folder, split).open("wb") as tokens,
        starts_file(folder, split).open("wb") as starts,
    ):
        yield SplitWriter(tokens, starts, dtype)


def open_tokens(folder: Path, split: Split, index: TokensIndex) -> np.memmap:
    """Return the tokens of a split, as a memory map [tokens]."""
    return np.memmap(tokens_file(folder, split), np.dtype(index.dtype), mode="r")


def open_starts(folder: Path, split: Split) -> np.memmap:
    """Return the positions at which documents start, as a memory map [documents]."""
    return np.memmap(starts_file(folder, split), START, mode="r")


def read_documents(folder: Path, split: Split) -> list[np.ndarray]:
    """Return the tokens of each document of a split, with BOS and EOS."""
    index = TokensIndex.read(folder)
    if not starts_file(folder, split).stat().st_size:
        return []
    starts = open_starts(folder, split)
    return np.split(np.array(open_tokens(folder, split, index)), starts[1:])


def write_counts(folder: Path, index: TokensIndex) -> None:
    """Count the training tokens, and write how often each occurs."""
    counts = np.zeros(index.vocab_size, np.dtype("<i8"))
    tokens = open_tokens(folder, "train", index)
    for start in range(0, len(tokens), 2**24):
        piece = tokens[start : start + 2**24]
        counts += np.bincount(piece, minlength=index.vocab_size)
    np.save(folder / COUNTS, counts)


def read_counts(folder: Path) -> np.ndarray:
    """Return how often each token occurs in train, int64 [vocab_size]."""
    return np.load(folder / COUNTS, allow_pickle=False)
