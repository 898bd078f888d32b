"""What a forward and a backward pass compute and move: counted elsewhere, read here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """The work of one micro-batch, forward and backward, what is computed twice too.

    Attributes:
        products: FLOPs of matrix products, attention among them.
        moved: Bytes that all other operations read and write.
        operations: Number of operations, each at least a kernel.
    """

    products: float = 0.0
    moved: float = 0.0
    operations: float = 0.0

    def plus(self, other: "Work", factor: float = 1.0) -> "Work":
        """Return this work plus a multiple of other work."""
        return Work(
            self.products + factor * other.products,
            self.moved + factor * other.moved,
            self.operations + factor * other.operations,
        )
