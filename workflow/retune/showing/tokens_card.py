"""The card of a folder of tokens, made from the folder itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from retune.artifacts.tokens_card import Lengths, TokensCard
from retune.artifacts.tokens_index import TokensIndex
from retune.settings import SPLITS, Split
from retune.showing.row import Row
from retune.showing.rows import Rows
from retune.showing.scripts import shares_of_scripts
from retune.showing.shown_rows import shown_row
from retune.tokens.store import open_starts, sequence_sizes
from retune.tokens.tokenizer import ModelTokenizer

# Rows of train that the card shows, and most that are tried for each of them.
SHOWN_ROWS, TRIED_ROWS = 3, 10
# Rows whose letters are counted.
ROWS_OF_LETTERS = 300
# Tokens at the beginning of such a row whose letters are counted.
TOKENS_OF_LETTERS = 2000


def write_card(folder: Path, tokenizer: ModelTokenizer) -> None:
    """Write the card of a folder in which `tokenize` has written all but the manifest.

    Memory grows by 4 bytes for each sequence, and not with the number of tokens.

    Args:
        folder: The folder of tokens.
        tokenizer: The tokenizer that made them.
    """
    index = TokensIndex.read(folder)
    sizes = {
        split: ascending_sizes(folder, split, index)
        for split in SPLITS
        if index.splits[split].sequences
    }
    bins = bins_of(sizes, index.sequence_length)
    rows = Rows(folder, "train")
    letters = (
        tokenizer.decode(rows.sequences[number].ids[:TOKENS_OF_LETTERS].tolist())
        for number in spread(len(rows), ROWS_OF_LETTERS)
    )
    TokensCard(
        sequence_length=index.sequence_length,
        bins=tuple(bins.tolist()),
        lengths={split: lengths_of(sizes[split], bins) for split in sizes},
        scripts=shares_of_scripts(letters),
        rows=tuple(
            shown_row(row_to_show(rows, number), tokenizer)
            for number in spread(len(rows), SHOWN_ROWS)
        ),
    ).write(folder)


def ascending_sizes(folder: Path, split: Split, index: TokensIndex) -> np.ndarray:
    """Return the number of tokens of each sequence, ascending, int32 [sequences]."""
    sizes = sequence_sizes(open_starts(folder, split), index.splits[split].tokens)
    sizes.sort()
    return sizes


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` numbers of `count` things, evenly from all of them."""
    chosen = min(count, most)
    return [(2 * i + 1) * count // (2 * chosen) for i in range(chosen)]


def row_to_show(rows: Rows, number: int) -> Row:
    """Return the first row from a number on of which something is trained.

    Args:
        rows: The rows of the split.
        number: Number of the first row that is looked at; it is returned if none of
            the few rows after it is trained, either.
    """
    some = range(number, min(number + TRIED_ROWS, len(rows)))
    trained = (row for row in map(rows.__getitem__, some) if row.counted.any())
    return next(trained, None) or rows[number]


def bins_of(sizes: Mapping[Split, np.ndarray], sequence_length: int) -> np.ndarray:
    """Return the largest length of each bin, ascending, int64 [bins].

    Two bins make a length twice as long. A bin ends at `sequence_length`, so that what
    is longer than a block is in bins of its own.

    Args:
        sizes: Number of tokens of each sequence, ascending, int32 [sequences], of each
            split.
        sequence_length: Tokens per block.
    """
    shortest = max(1, min(int(each[0]) for each in sizes.values()))
    longest = max(int(each[-1]) for each in sizes.values())
    first, last = (
        2 * np.log2(length / sequence_length) for length in (shortest, longest)
    )
    halves = np.arange(np.ceil(first), max(np.ceil(last), 0) + 1)
    ends = np.rint(sequence_length * 2 ** (halves / 2)).astype(np.int64)
    return np.unique(ends[ends >= 1])


def lengths_of(sizes: np.ndarray, bins: np.ndarray) -> Lengths:
    """Return how long the sequences of a split are.

    Args:
        sizes: Number of tokens of each sequence, ascending, int32 [sequences].
        bins: Largest length of each bin, int64 [bins].
    """
    middle = sizes[[(len(sizes) - 1) // 2, len(sizes) // 2]]
    # With another dtype NumPy would copy the sizes.
    up_to = np.searchsorted(sizes, bins.astype(sizes.dtype), side="right")
    return Lengths(
        shortest=int(sizes[0]),
        median=float(middle.mean()),
        longest=int(sizes[-1]),
        counts=tuple(np.diff(up_to, prepend=0).tolist()),
    )
