"""The order in which training reads the blocks of several sources.

An epoch has a number of places for each source. Which place is whose is a permutation
that is new in each epoch, and each source fills its places from an endless sequence of
permutations of its own blocks, one pass after another. So a source is read evenly: no
block for the second time before all were read once, also across epochs. The order
depends on its arguments alone, as in `retune.tokens.order`.
"""

import hashlib

import numpy as np

from retune.tokens.mixture import Mixture, SourcePlaces
from retune.tokens.order import blocks_of_step, permuted


def mixed_blocks_of_step(
    mixture: Mixture, step: int, batch_size: int, seed: int
) -> np.ndarray:
    """Return the block numbers of optimizer step `step` (from 0), int64 [batch_size].

    Args:
        mixture: How many blocks of each source an epoch reads.
        step: Number of optimizer steps done before it.
        batch_size: Blocks per optimizer step, on all ranks together.
        seed: Seed of the order.
    """
    places = blocks_of_step(step, batch_size, mixture.blocks_per_epoch, seed)
    if not mixture.sources:
        return places
    first = step * batch_size
    epochs = np.arange(first, first + batch_size) // mixture.blocks_per_epoch
    blocks = np.empty_like(places)
    start = 0
    for source in mixture.sources:
        is_own = (places >= start) & (places < start + source.places)
        if is_own.any():
            draws = epochs[is_own] * source.places + places[is_own] - start
            blocks[is_own] = drawn_blocks(source, draws, seed)
        start += source.places
    return blocks


def drawn_blocks(source: SourcePlaces, draws: np.ndarray, seed: int) -> np.ndarray:
    """Return the number of each block that is drawn from a source, int64 [draws].

    Args:
        source: The source.
        draws: Number of its blocks drawn before each, over all epochs, int64 [draws].
        seed: Seed of the order.
    """
    passes, places = np.divmod(draws, source.blocks)
    own_seed = seed_of_source(source.name, seed)
    return source.first + permuted(places, passes, source.blocks, own_seed)


def seed_of_source(name: str, seed: int) -> int:
    """Return the seed of a source's own order, which other sources do not change."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
