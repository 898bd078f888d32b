"""What a rank that ran out of memory knew of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryShortage:
    """The memory of a rank that ran out of it, GB (10^9 bytes).

    Attributes:
        needed: Peak of the memory in use and the allocation that failed. That may not
            be the last one, so the training may take more.
        there: Memory that the rank may use.
        before: Memory in use before the model was loaded; 0 on GPUs.
    """

    needed: float
    there: float
    before: float
