"""Segments: parts of sequences, each of which the model sees by itself."""

from dataclasses import dataclass

import numpy as np

from retune.tokens.trained_bits import TrainedBits


@dataclass(frozen=True)
class Segments:
    """Parts of a split's sequences, which do not overlap.

    Attributes:
        starts: Position of each part's first token in the split, int64 [segments].
        sizes: Number of tokens of each part, int32 or int64 [segments].
    """

    starts: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.starts)

    def take(self, chosen: np.ndarray) -> "Segments":
        """Return some segments.

        Args:
            chosen: Their numbers, int64 [chosen], or whether each is one of them, bool
                [segments].
        """
        return Segments(self.starts[chosen], self.sizes[chosen])

    def count_predicted(self, trained: TrainedBits | None) -> np.ndarray:
        """Return how many tokens of each segment are predicted, integers [segments].

        These are the trained ones but the first, which nothing comes before. The
        segments must be in the order of the tokens.

        Args:
            trained: Which tokens are trained; None if all are.
        """
        if trained is None:
            return np.maximum(self.sizes - 1, 0)
        ends = self.starts + self.sizes
        return trained.count_between(np.minimum(self.starts + 1, ends), ends)
