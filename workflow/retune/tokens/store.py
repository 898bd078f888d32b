"""The folder of tokens: `tokenize` writes it, training and evaluation read it.

All numbers are little-endian, and the `.bin` files have no header:

- `tokens.json`: the index, `TokensIndex`, with the dtype of the tokens and the size of
  each split.
- `SPLIT.tokens.bin`: the tokens of all sequences of a split one after another, in the
  order of the documents, [tokens] of the dtype of the index. Every sequence is whole,
  also where training reads a part of it, or nothing.
- `SPLIT.sequences.bin`: the position in `SPLIT.tokens.bin` at which each sequence
  starts, int64 [sequences].
- `SPLIT.trained.bin`: which tokens are trained, one bit per token, the lowest bit of a
  byte first, [tokens / 8]. It is there if the index says `has_answers`; otherwise every
  token is trained but the first of each sequence.
- `SPLIT.segments.bin`: the parts of sequences that training reads, block after block:
  the position in `SPLIT.tokens.bin` at which each starts, and its number of tokens,
  int64 [segments, 2].
- `SPLIT.blocks.bin`: the number of the first segment of each block, int64 [blocks].
  With several sources the blocks of train are those of one source after another, see
  `SourceBlocks`.
- `SPLIT.labels.bin`: the number of predicted tokens of each block, int32 [blocks].
- `train.counts.npy`: how often each token is trained in `train.tokens.bin`, int64
  [vocab_size], in NumPy's format.
- `card.json`: lengths and a few rows for people, `TokensCard`.

`retune.tokens.packing` writes the segments, blocks and labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from retune.artifacts.tokens_index import TokensIndex
from retune.settings import Split
from retune.tokens.sequences import TokenSequence
from retune.tokens.trained_bits import BitWriter, TrainedBits

# Positions of tokens and numbers of segments, and numbers of tokens of a block.
PLACE, COUNT = np.dtype("<i8"), np.dtype("<i4")
COUNTS = "train.counts.npy"
# Tokens that are counted at a time.
TOKENS_AT_ONCE = 2**20


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest dtype that holds every token of a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def tokens_file(folder: Path, split: Split) -> Path:
    """Return the file of a split's tokens."""
    return folder / f"{split}.tokens.bin"


def starts_file(folder: Path, split: Split) -> Path:
    """Return the file of the positions at which a split's sequences start."""
    return folder / f"{split}.sequences.bin"


def trained_file(folder: Path, split: Split) -> Path:
    """Return the file of which tokens of a split are trained."""
    return folder / f"{split}.trained.bin"


def segments_file(folder: Path, split: Split) -> Path:
    """Return the file of the parts of sequences that training reads."""
    return folder / f"{split}.segments.bin"


def blocks_file(folder: Path, split: Split) -> Path:
    """Return the file of the first segment of each block."""
    return folder / f"{split}.blocks.bin"


def labels_file(folder: Path, split: Split) -> Path:
    """Return the file of the number of predicted tokens of each block."""
    return folder / f"{split}.labels.bin"


class SplitWriter:
    """Writes the sequences of a split one after another.

    Attributes:
        tokens: Number of tokens that it has written.
        sequences: Number of sequences that it has written.
    """

    def __init__(
        self,
        tokens: BinaryIO,
        starts: BinaryIO,
        trained: BitWriter | None,
        dtype: np.dtype,
    ) -> None:
        """Write into open files.

        Args:
            tokens: File of the tokens.
            starts: File of the positions at which sequences start.
            trained: Where to write which tokens are trained; None if all are.
            dtype: Dtype of a token.
        """
        self.tokens = 0
        self.sequences = 0
        self._files = tokens, starts
        self._trained = trained
        self._dtype = dtype

    def append(
        self,
        ids: np.ndarray,
        sizes: Sequence[int] | np.ndarray,
        trained: np.ndarray | None = None,
    ) -> None:
        """Write sequences.

        Args:
            ids: Their tokens one after another, with those that begin and end a
                document, int [tokens].
            sizes: Number of tokens of each sequence, of which there is at least one.
            trained: Which of the tokens are trained, bool [tokens]; needed if the split
                has answers.
        """
        tokens, starts = self._files
        ends = self.tokens + np.cumsum(sizes, dtype=PLACE)
        assert self.tokens + len(ids) == ends[-1]
        starts.write((ends - np.asarray(sizes)).astype(PLACE).tobytes())
        tokens.write(ids.astype(self._dtype).tobytes())
        if self._trained:
            assert trained is not None
            assert len(trained) == len(ids)
            self._trained.append(trained)
        self.tokens += len(ids)
        self.sequences += len(sizes)


@contextmanager
def written_split(
    folder: Path, split: Split, dtype: np.dtype, has_answers: bool
) -> Iterator[SplitWriter]:
    """Yield what writes the sequences of a split; the files are closed afterwards.

    Args:
        folder: Folder of tokens.
        split: The split.
        dtype: Dtype of a token.
        has_answers: Whether only some of the tokens are trained.
    """
    with ExitStack() as files:
        tokens = files.enter_context(tokens_file(folder, split).open("wb"))
        starts = files.enter_context(starts_file(folder, split).open("wb"))
        trained = None
        if has_answers:
            file = files.enter_context(trained_file(folder, split).open("wb"))
            trained = BitWriter(file)
            files.callback(trained.finish)
        yield SplitWriter(tokens, starts, trained, dtype)


def open_array(path: Path, dtype: np.dtype) -> np.ndarray:
    """Return the numbers of a file, [numbers], through a memory map."""
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    # A plain array on top of the map: each access to a np.memmap costs microseconds.
    return np.asarray(np.memmap(path, dtype, mode="r"))


def open_tokens(folder: Path, split: Split, index: TokensIndex) -> np.ndarray:
    """Return the tokens of a split, through a memory map [tokens]."""
    return open_array(tokens_file(folder, split), np.dtype(index.dtype))


def open_starts(folder: Path, split: Split) -> np.ndarray:
    """Return where sequences start, through a memory map, int64 [sequences]."""
    return open_array(starts_file(folder, split), PLACE)


def sequence_sizes(starts: np.ndarray, end: int) -> np.ndarray:
    """Return the number of tokens of each sequence, int32 [sequences].

    Args:
        starts: Positions at which sequences start, which are one after another, int64
            [sequences].
        end: Position after the last one.
    """
    sizes = np.empty(len(starts), COUNT)
    np.subtract(starts[1:], starts[:-1], out=sizes[:-1], casting="same_kind")
    if len(starts):
        sizes[-1] = end - starts[-1]
    return sizes


def open_trained(folder: Path, split: Split, has_answers: bool) -> TrainedBits | None:
    """Return what reads which tokens are trained, through a memory map.

    Args:
        folder: Folder of tokens.
        split: The split.
        has_answers: Whether only some of the tokens are trained.

    Returns:
        None if every token is trained but the first of each sequence.
    """
    if not has_answers:
        return None
    return TrainedBits(open_array(trained_file(folder, split), np.dtype("u1")))


class StoredSequences:
    """The sequences of one split, whole, each read when it is asked for."""

    def __init__(self, folder: Path, split: Split) -> None:
        """Open a split of the folder of tokens that `tokenize` made."""
        index = TokensIndex.read(folder)
        self._tokens = open_tokens(folder, split, index)
        self._trained = open_trained(folder, split, index.has_answers)
        self._starts = open_starts(folder, split)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self._starts)

    def __iter__(self) -> Iterator[TokenSequence]:
        """Yield the sequences, in the order of the documents."""
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> TokenSequence:
        """Return the sequence of a number, from 0."""
        start = self._starts[number]
        is_last = number + 1 == len(self)
        end = len(self._tokens) if is_last else self._starts[number + 1]
        if self._trained:
            trained = self._trained.at(np.arange(start, end))
        else:
            trained = np.arange(end - start) > 0
        return TokenSequence(self._tokens[start:end].astype(np.int32), trained)


def write_counts(folder: Path, index: TokensIndex) -> None:
    """Count how often each token occurs in train where it is trained, and write it.

    Where all of a text is trained, its first token, BOS, is counted, too.
    """
    counts = np.zeros(index.vocab_size, np.dtype("<i8"))
    tokens = open_tokens(folder, "train", index)
    trained = open_trained(folder, "train", index.has_answers)
    for start in range(0, len(tokens), TOKENS_AT_ONCE):
        piece = tokens[start : start + TOKENS_AT_ONCE]
        if trained:
            piece = piece[trained.at(np.arange(start, start + len(piece)))]
        counts += np.bincount(piece, minlength=index.vocab_size)
    np.save(folder / COUNTS, counts)


def read_counts(folder: Path) -> np.ndarray:
    """Return how often each token occurs in train, int64 [vocab_size]."""
    return np.load(folder / COUNTS, allow_pickle=False)
