"""The sizes of the trained weights, in the order in which an optimizer has them."""

from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class TrainedSizes:
    """Elements of each trained weight, by the parameter group of the optimizer.

    Attributes:
        groups: For each group the elements of its weights, in their order.
        largest_frozen: Elements of the largest weight that is not trained; 0 if all
            are.
    """

    groups: tuple[tuple[int, ...], ...]
    largest_frozen: int = 0

    @property
    def largest(self) -> int:
        """Elements of the largest weight; 0 if there is none."""
        return max((size for group in self.groups for size in group), default=0)

    @property
    def largest_of_all(self) -> int:
        """Elements of the largest weight, trained or not."""
        return max(self.largest, self.largest_frozen)

    def most_touched(self, ranks: int) -> int:
        """Return the elements of the weights of which a rank has at least a part.

        ZeRO cuts each group into as many equal parts as there are ranks, wherever the
        weights end; it is the rank with most.
        """
        return max(
            sum(touched(group, rank, ranks) for group in self.groups)
            for rank in range(ranks)
        )


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
