"""A row of data/tokens: its tokens, what is trained of them, and where it is cut."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """Neighbouring tokens of a row that go into one block, or into none.

    Attributes:
        start: Place of the first token in the row.
        end: Place after the last token.
        is_read: Whether a block has them; otherwise they are left out.
    """

    start: int
    end: int
    is_read: bool


@dataclass(frozen=True)
class Row:
    """A token sequence of a split, before packing.

    Attributes:
        number: Number of the row in its split, from 0.
        ids: The tokens, [tokens].
        trained: Which tokens are trained, bool [tokens].
        segments: What the blocks have of the row: start in the row and number of
            tokens, ascending, int64 [segments, 2]. The model sees each by itself.
    """

    number: int
    ids: np.ndarray
    trained: np.ndarray
    segments: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """Which tokens the loss counts, bool [tokens].

        Not counted is what no block has, and the first token of each segment: none
        stands before it that would predict it.
        """
        counted = np.zeros(len(self.ids), bool)
        for part in self.parts():
            if part.is_read:
                predicted = slice(part.start + 1, part.end)
                counted[predicted] = self.trained[predicted]
        return counted

    def parts(self) -> Iterator[Part]:
        """Yield the parts of the row, in order: segments, and what is left out."""
        done = 0
        for start, tokens in self.segments.tolist():
            if start > done:
                yield Part(done, start, is_read=False)
            done = start + tokens
            yield Part(start, done, is_read=True)
        if done < len(self.ids):
            yield Part(done, len(self.ids), is_read=False)
