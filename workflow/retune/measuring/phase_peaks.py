"""The most memory of a GPU in each phase of a training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from retune.artifacts.memory_prediction import MeasuredPhase


class AllocatorStatistics(Protocol):
    """What `torch.cuda` knows of the memory that PyTorch has allocated on a GPU."""

    def max_memory_allocated(self) -> int:
        """Return the most bytes since the peak began anew."""
        ...

    def reset_peak_memory_stats(self) -> None:
        """Let the peak begin anew."""
        ...


class PhasePeaks:
    """The most bytes that PyTorch has allocated on this process's GPU, by phase.

    At the end of a phase its peak is noted, and begins anew. Neither waits for the GPU.
    Without a GPU nothing is noted.

    Attributes:
        bytes: The most of each phase that has ended at least once.
    """

    def __init__(self, device: Callable[[], AllocatorStatistics | None]) -> None:
        """Begin with no phase.

        Args:
            device: Function that returns what knows of this process's GPU; None as long
                as it computes on none.
        """
        self.bytes: dict[MeasuredPhase, int] = {}
        self._device = device

    def restart(self) -> None:
        """Forget what was there before a training."""
        self.bytes.clear()
        if device := self._device():
            device.reset_peak_memory_stats()

    def end(self, phase: MeasuredPhase) -> None:
        """End a phase, in which this process was since another has ended."""
        if device := self._device():
            peak = device.max_memory_allocated()
            self.bytes[phase] = max(peak, self.bytes.get(phase, 0))
            device.reset_peak_memory_stats()

    @contextmanager
    def interrupt_training(self, phase: MeasuredPhase) -> Iterator[None]:
        """Measure a block between two steps as a phase of its own."""
        self.end("training")
        yield
        self.end(phase)

    @property
    def most(self) -> int:
        """The most bytes of all phases, of the one that has not ended as well."""
        device = self._device()
        now = device.max_memory_allocated() if device else 0
        return max([now, *self.bytes.values()])
