"""Which block each part of a sequence goes into."""

from array import array

import numpy as np


def best_fit(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """Return the block of each part, int64 [parts], by best-fit decreasing.

    From the longest part to the shortest, each goes into the fullest block that has
    room for it, or opens a new one. That needs at most 11/9 of the fewest blocks
    possible (Johnson, "Near-optimal bin packing algorithms", 1973). Parts of the same
    size go in their order, so the result depends on the arguments alone.

    Args:
        sizes: Number of tokens of each part, from 1 to `capacity`, int32 or
            int64 [parts].
        capacity: Tokens that a block holds.
    """
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    # Bit r is set if a block has room for exactly r more tokens.
    rooms = 0
    num_blocks = 0
    filled = array("q")
    counts = np.bincount(sizes, minlength=capacity + 1).tolist()
    for size in range(capacity, 0, -1):
        left = counts[size]
        while left:
            if enough := rooms >> size:
                # The lowest bit that is set is the least room that is enough.
                room = size + (enough & -enough).bit_length() - 1
                block = with_room[room].pop()
                if not with_room[room]:
                    rooms ^= 1 << room
            else:
                room, block = capacity, num_blocks
                num_blocks += 1
            # With one part more it is the fullest one still, as long as that fits.
            placed = min(room // size, left)
            filled.extend([block] * placed)
            left -= placed
            if rest := room - placed * size:
                with_room[rest].append(block)
                rooms |= 1 << rest
    blocks = np.empty(len(sizes), np.int64)
    blocks[np.argsort(-sizes, kind="stable")] = np.array(filled, np.int64)
    return blocks


def wrap(starts: np.ndarray, first: int, end: int, length: int) -> np.ndarray:
    """Return where segments start if the tokens are cut after every `length`.

    Args:
        starts: Positions at which sequences start, ascending, int64 [sequences].
        first: Position of the first token.
        end: Position after the last token; there is a whole number of blocks before it.
        length: Tokens per block.

    Returns:
        Positions at which a sequence or a block starts, ascending, int64 [segments].
    """
    inside = slice(*np.searchsorted(starts, [first, end]))
    return np.union1d(np.arange(first, end, length), starts[inside])
