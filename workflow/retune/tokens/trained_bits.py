"""Which tokens of a split are trained: a file of one bit per token.

The lowest bit of a byte comes first. Bits that fill the last byte up are 0.
"""

from typing import BinaryIO

import numpy as np

# Bytes that are counted at a time.
PIECE = 2**16


class BitWriter:
    """Writes one bit per token."""

    def __init__(self, file: BinaryIO) -> None:
        """Write into an open file."""
        self._file = file
        self._rest = np.zeros(0, bool)

    def append(self, trained: np.ndarray) -> None:
        """Write which of the next tokens are trained, bool [tokens]."""
        bits = np.concatenate([self._rest, trained])
        whole = len(bits) // 8 * 8
        self._file.write(np.packbits(bits[:whole], bitorder="little").tobytes())
        self._rest = bits[whole:]

    def finish(self) -> None:
        """Write the bits that do not fill a byte."""
        self._file.write(np.packbits(self._rest, bitorder="little").tobytes())


class TrainedBits:
    """Reads which tokens are trained."""

    def __init__(self, packed: np.ndarray) -> None:
        """Read from a file's bytes, uint8 [bytes], which may be a memory map."""
        self._packed = packed

    def at(self, places: np.ndarray) -> np.ndarray:
        """Return whether the tokens at these places are trained, bool [places].

        Args:
            places: Positions of tokens in the split, from 0, int64 [places].
        """
        return (self._packed[places >> 3] >> (places & 7) & 1).astype(bool)

    def count_between(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Return how many tokens of each range are trained, int64 [ranges].

        Memory does not grow with the number of tokens. What is not between the first
        start and the last end is not read.

        Args:
            starts: Position of the first token of each range, ascending, int64
                [ranges].
            ends: Position after the last token of each range, ascending, int64
                [ranges].
        """
        if not len(starts):
            return np.zeros(0, np.int64)
        first, last = int(starts[0]) >> 3, int(ends[-1]) >> 3
        return self._count_before(ends, first, last) - self._count_before(
            starts, first, last
        )

    def _count_before(self, places: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return how many tokens are trained from a byte on before each place.

        Args:
            places: Ascending positions, int64 [places].
            first: Number of the byte from which is counted.
            last: Number of the byte of the last place, which may be the one after the
                last byte of the file.
        """
        counts = np.empty(len(places), np.int64)
        before = 0
        for start in range(first, last + 1, PIECE):
            # The byte after the last one is that of the place after the last token.
            end = min(start + PIECE, last + 1)
            piece = np.append(self._packed[start:end], np.uint8(0))
            sums = before + np.append(0, np.cumsum(np.bitwise_count(piece), dtype="i8"))
            some = slice(*np.searchsorted(places, [8 * start, 8 * (start + PIECE)]))
            inside = places[some]
            byte = (inside >> 3) - start
            lower = ((1 << (inside & 7)) - 1).astype(np.uint8)
            counts[some] = sums[byte] + np.bitwise_count(piece[byte] & lower)
            before = sums[-1]
        return counts
