"""The sizes of the weights, the trained ones in the order of an optimizer."""

import math
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class TrainedSizes:
    """Elements of each trained weight, by the parameter group of the optimizer.

    Attributes:
        groups: For each group the elements of its weights, in their order.
        frozen: The elements of each weight that is not trained.
    """

    groups: tuple[tuple[int, ...], ...]
    frozen: tuple[int, ...] = ()

    @property
    def num_trained(self) -> int:
        """Number of trained weights."""
        return sum(map(len, self.groups))

    @property
    def num_weights(self) -> int:
        """Number of all weights."""
        return self.num_trained + len(self.frozen)

    @property
    def largest(self) -> int:
        """Elements of the largest trained weight; 0 if there is none."""
        return max((size for group in self.groups for size in group), default=0)

    @property
    def largest_of_all(self) -> int:
        """Elements of the largest weight, trained or not; 0 if there is none."""
        return max(self.largest, *self.frozen, 0)

    def within(self, threshold: float) -> int:
        """Return the elements of all weights that have no more than so many each."""
        weights = (*(size for group in self.groups for size in group), *self.frozen)
        return sum(size for size in weights if size <= threshold)

    def most_touched(self, ranks: int, in_turn: bool = False) -> int:
        """Return the elements of the weights of which a rank has at least a part.

        ZeRO cuts each group into as many equal parts as there are ranks, wherever the
        weights end; it is the rank with most.

        Args:
            ranks: Number of ranks.
            in_turn: Whether the weights were dealt out to the ranks in turn before.
        """
        groups = self.groups
        if in_turn:
            groups = tuple(dealt(group, ranks) for group in groups)
        return max(
            sum(touched(group, rank, ranks) for group in groups)
            for rank in range(ranks)
        )

    def largest_sub_group(self, ranks: int, size: float) -> int:
        """Return the most elements that a rank steps on at a time at ZeRO-3.

        Of each weight a rank has an equal part, the last one filled up. As many weights
        are taken together until they have the size (`_create_fp16_sub_groups`,
        stage3.py:1210); a group that is no larger is not cut.

        Args:
            ranks: Number of ranks.
            size: Elements of a sub-group.
        """
        most = 0
        for group in self.groups:
            parts = [math.ceil(each / ranks) for each in group]
            if size >= sum(parts):
                most = max(most, sum(parts))
                continue
            together = 0
            for part in parts:
                together += part
                most = max(most, together)
                together = 0 if together >= size else together
        return most


def dealt(sizes: tuple[int, ...], ranks: int) -> tuple[int, ...]:
    """Return the sizes of a group in the order in which DeepSpeed deals weights out.

    That is `_round_robin_reorder` (stage_1_and_2.py:901).
    """
    return tuple(size for rank in range(ranks) for size in sizes[rank::ranks])


def touched(sizes: tuple[int, ...], rank: int, ranks: int) -> int:
    """Return the elements of the weights of a group of which a rank has a part."""
    each = sum(sizes) / ranks
    first, last = rank * each, (rank + 1) * each
    ends = accumulate(sizes)
    return sum(
        size
        for size, end in zip(sizes, ends, strict=True)
        if end > first and end - size < last
    )
