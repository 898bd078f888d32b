"""How many blocks of each source an epoch reads, by the weights of a mixture.

`retune.tokens.mixed_order` says in which order. Snakemake imports this module to
estimate what a job needs, so it stays without NumPy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from retune.artifacts.tokens_index import SourceBlocks, TokensIndex
from retune.errors import RetuneError
from retune.settings.finetune import RowsPerEpoch

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


@dataclass(frozen=True)
class Mixture:
    """How many blocks of each source an epoch reads.

    Attributes:
        num_blocks: Number of all blocks.
        sources: What an epoch reads of each source; empty if it reads every block once.
    """

    num_blocks: int
    sources: tuple[SourcePlaces, ...] = ()

    @classmethod
    def of(cls, index: TokensIndex, weights: Weights) -> Self:
        """Return the mixture of the sources that tokens have.

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
