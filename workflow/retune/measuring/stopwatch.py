"""A stopwatch for the passes of an optimizer step, on a CPU or a GPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from retune.measuring.device_memory import cuda_in_use

if TYPE_CHECKING:
    import torch

Pass = Literal["forward", "backward", "optimizer"]


@dataclass(frozen=True)
class PassSeconds:
    """Time that the passes of one optimizer step took, over all its micro-batches.

    Attributes:
        forward: Seconds of the forward passes; None where they were not measured.
        backward: Seconds of the backward passes, likewise.
        optimizer: Seconds of the optimizer, likewise.
    """

    forward: float | None = None
    backward: float | None = None
    optimizer: float | None = None


class Stopwatch:
    """Measures how long the passes of an optimizer step take.

        with stopwatch.measure("forward"):
            ...
        seconds = stopwatch.read()

    On a GPU it measures the work of the device, by events in the current stream, and
    nothing waits for the device before `read`. Passes must not overlap.
    """

    def __init__(self) -> None:
        """Begin with nothing measured."""
        self._spans: list[tuple[Pass, Moment, Moment]] = []

    @contextmanager
    def measure(self, name: Pass) -> Iterator[None]:
        """Measure a block; blocks of one name add up."""
        start = Moment()
        yield
        self._spans.append((name, start, Moment()))

    def read(self) -> PassSeconds:
        """Return what was measured since the last call.

        Call it where the loop has waited for the device anyway, because it waits, too.
        """
        seconds: dict[Pass, float] = {}
        for name, start, end in self._spans:
            seconds[name] = seconds.get(name, 0.0) + end.seconds_since(start)
        self._spans.clear()
        return PassSeconds(**seconds)


class Moment:
    """A moment in the work of this process's device.

    On a GPU it is when the device reaches this place in the current stream.
    """

    def __init__(self) -> None:
        """Take the present moment."""
        self._time = time.perf_counter()
        self._event: torch.cuda.Event | None = None
        if cuda := cuda_in_use():
            self._event = cuda.Event(enable_timing=True)
            self._event.record()

    def seconds_since(self, start: "Moment") -> float:
        """Return the seconds from an earlier moment to this one."""
        if self._event is None or start._event is None:
            return self._time - start._time
        self._event.synchronize()
        return start._event.elapsed_time(self._event) / 1000
