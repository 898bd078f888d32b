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

    def count_before(self, places: np.ndarray) -> np.ndarray:
        """Return how many tokens before each place are trained, int64 [places].

        Memory does not grow with the number of tokens.

        Args:
            places: Ascending positions, from 0 to the number of tokens, int64 [places].
        """
        counts = np.empty(len(places), np.int64)
        before = 0
        for start in range(0, len(self._packed) + 1, PIECE):
            # The byte after the last one is that of the place after the last token.
            piece = np.append(self._packed[start : start + PIECE], np.uint8(0))
            sums = before + np.append(0, np.cumsum(np.bitwise_count(piece), dtype="i8"))
            first, last = np.searchsorted(places, [8 * start, 8 * (start + PIECE)])
            inside = places[first:last]
            byte = (inside >> 3) - start
            lower = ((1 << (inside & 7)) - 1).astype(np.uint8)
            counts[first:last] = sums[byte] + np.bitwise_count(piece[byte] & lower)
            before = sums[-1]
        return counts
