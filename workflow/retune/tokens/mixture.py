"""The order in which training reads blocks of several sources, mixed by weight.

An epoch has a number of places for each source. Which place is whose is a permutation
that is new in each epoch, and each source fills its places from an endless sequence of
permutations of its own blocks, one pass after another. So a source is read evenly: no
block for the second time before all were read once, also across epochs. The order
depends on its arguments alone, as in `retune.tokens.order`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from retune.artifacts.tokens_index import SourceBlocks, TokensIndex
from retune.errors import RetuneError
from retune.settings.finetune import RowsPerEpoch
from retune.tokens.order import blocks_of_step, permuted

# Weights by the name of a source, as `finetune.mix` has them.
Weights = Mapping[str, float | RowsPerEpoch]


@dataclass(frozen=True)
class SourcePlaces:
    """What an epoch reads of one source.

    Attributes:
        name: Name of the source.
        first: Number of its first block.
        blocks: Number of its blocks.
        places: Number of blocks that an epoch reads of it.
    """

    name: str
    first: int
    blocks: int
    places: int

    def blocks_at(self, draws: np.ndarray, seed: int) -> np.ndarray:
        """Return the number of each block that is drawn from the source, int64 [draws].

        Args:
            draws: Number of the blocks drawn before each, over all epochs, int64
                [draws].
            seed: Seed of the order.
        """
        passes, places = np.divmod(draws, self.blocks)
        own_seed = seed_of_source(self.name, seed)
        return self.first + permuted(places, passes, self.blocks, own_seed)


@dataclass(frozen=True)
class BlockOrder:
    """The order in which a training reads the blocks.

    Attributes:
        num_blocks: Number of all blocks.
        sources: What an epoch reads of each source; empty if it reads every block once.
    """

    num_blocks: int
    sources: tuple[SourcePlaces, ...] = ()

    @classmethod
    def of(cls, index: TokensIndex, weights: Weights) -> Self:
        """Return the order for tokens of some sources.

        Args:
            index: Index of the tokens.
            weights: The setting `finetune.mix`.

        Raises:
            RetuneError: If a weight is of no source of the tokens, or an epoch would
                read nothing.
        """
        check_names(index.sources, weights)
        num_blocks = index.splits["train"].blocks
        sources = places_of(index.sources, weights)
        if all(source.places == source.blocks for source in sources):
            return cls(num_blocks)
        if not any(source.places for source in sources):
            raise RetuneError(
                "finetune.mix: none of the sources with a weight above 0 has a training"
                " block; raise the weight of another one"
            )
        return cls(num_blocks, sources)

    @property
    def blocks_per_epoch(self) -> int:
        """Number of blocks that an epoch reads."""
        if not self.sources:
            return self.num_blocks
        return sum(source.places for source in self.sources)

    def blocks_of_step(self, step: int, batch_size: int, seed: int) -> np.ndarray:
        """Return the block numbers of optimizer step `step` (from 0), int64.

        Args:
            step: Number of optimizer steps done before it.
            batch_size: Blocks per optimizer step, on all ranks together.
            seed: Seed of the order.
        """
        places = blocks_of_step(step, batch_size, self.blocks_per_epoch, seed)
        if not self.sources:
            return places
        first = step * batch_size
        epochs = np.arange(first, first + batch_size) // self.blocks_per_epoch
        blocks = np.empty_like(places)
        start = 0
        for source in self.sources:
            is_own = (places >= start) & (places < start + source.places)
            draws = epochs[is_own] * source.places + places[is_own] - start
            if len(draws):
                blocks[is_own] = source.blocks_at(draws, seed)
            start += source.places
        return blocks


def check_names(sources: tuple[SourceBlocks, ...], weights: Weights) -> None:
    """Raise RetuneError if a weight is of no source of the tokens."""
    names = [source.name for source in sources]
    for name in weights:
        if name not in names:
            raise RetuneError(
                f"finetune.mix.{name}: no training document is of that source; there"
                f" are: {', '.join(names) or 'none, for dataset has no sources'}"
            )


def places_of(
    sources: tuple[SourceBlocks, ...], weights: Weights
) -> tuple[SourcePlaces, ...]:
    """Return what an epoch reads of each source."""
    places = []
    first = 0
    for source in sources:
        number = num_places(source, weights.get(source.name, 1.0))
        places.append(SourcePlaces(source.name, first, source.blocks, number))
        first += source.blocks
    return tuple(places)


def num_places(source: SourceBlocks, weight: float | RowsPerEpoch) -> int:
    """Return how many blocks an epoch reads of a source.

    It is at least one, if the source has blocks and its weight is not 0. A number of
    documents counts as the blocks in which so many are on average.
    """
    if isinstance(weight, RowsPerEpoch):
        weight = weight.rows / source.documents
    if weight == 0 or source.blocks == 0:
        return 0
    return max(1, round(weight * source.blocks))


def seed_of_source(name: str, seed: int) -> int:
    """Return the seed of a source's own order, which other sources do not change."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
