"""The rows of a folder of tokens."""

from pathlib import Path

import numpy as np

from retune.artifacts.tokens_index import INDEX, TokensIndex
from retune.errors import RetuneError
from retune.settings import Split
from retune.showing.row import Row
from retune.tokens.store import (
    PLACE,
    StoredSequences,
    open_array,
    open_starts,
    segments_file,
)

# Segments that are looked at at a time, 16 bytes each.
SEGMENTS_PER_LOOK = 2**20


class Rows:
    """The rows of a split, each read when it is asked for.

    Attributes:
        split: Name of the split.
        index: What the folder holds.
        sequences: The token sequences of the rows.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        """Open a split of a folder that `tokenize` wrote.

        Raises:
            RetuneError: If there is no such folder, or the split has no rows.
        """
        if not (folder / INDEX).is_file():
            raise RetuneError(
                f"--tokens: there is no file {folder / INDEX}: run tokenize, or name"
                " the folder that it wrote"
            )
        self.split = split
        self.index = TokensIndex.read(folder)
        self.sequences = StoredSequences(folder, split)
        self._starts = open_starts(folder, split)
        segments = open_array(segments_file(folder, split), PLACE)
        self._segments = segments.reshape(-1, 2)
        if not len(self):
            raise RetuneError(f"--split: {split} has no rows in {folder}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sequences)

    def __getitem__(self, number: int) -> Row:
        """Return the row of a number, from 0."""
        sequence = self.sequences[number]
        segments = self._segments_within(int(self._starts[number]), len(sequence.ids))
        return Row(number, sequence.ids, sequence.trained, segments)

    def _segments_within(self, start: int, tokens: int) -> np.ndarray:
        """Return the segments of a row, as `Row` has them.

        They are in the order of the blocks, so all are looked at.
        """
        found = [np.zeros((0, 2), PLACE)]
        for first in range(0, len(self._segments), SEGMENTS_PER_LOOK):
            some = self._segments[first : first + SEGMENTS_PER_LOOK]
            places = some[:, 0] - start
            found.append(some[(places >= 0) & (places < tokens)])
        segments = np.concatenate(found) - [start, 0]
        return segments[np.argsort(segments[:, 0])]
