"""A profile of a few optimizer steps: a trace for people, and what took longest."""

from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule

from retune.artifacts.training_operations import (
    OPERATIONS,
    TRACE,
    Operation,
    TrainingOperations,
)

# Steps that pass before the first that is profiled: the first ones allocate and
# compile, and the profiler itself takes one to get going.
PASSED, STARTING, PROFILED = 3, 1, 3
MOST_OPERATIONS = 10
# How the profiler calls a whole step.
WHOLE_STEP = "ProfilerStep"


class StepProfiler:
    """Profiles a few steps of a training, if that is wanted; costs nothing otherwise.

    with StepProfiler(is_wanted, state, first, total) as profiler:
        for ...:
            ...
            profiler.after_step()
    """

    def __init__(self, is_wanted: bool, state: Path, first: int, total: int) -> None:
        """Choose the steps.

        Args:
            is_wanted: Whether to profile, on this rank.
            state: Folder to write into.
            first: Number of optimizer steps done before.
            total: Number of optimizer steps of the run.
        """
        self._state = state
        self._profile: profile | None = None
        left = total - first
        if not is_wanted or left < 1:
            return
        # A short training is profiled at its end, as far as it goes.
        starting = min(STARTING, left - 1)
        self._steps = min(PROFILED, left - starting)
        passed = min(PASSED, left - starting - self._steps)
        self._first = first + passed + starting + 1
        self._device: Literal["cpu", "cuda"] = "cpu"
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_initialized():
            self._device = "cuda"
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(
            activities=activities,
            schedule=schedule(
                skip_first=passed,
                wait=0,
                warmup=starting,
                active=self._steps,
                repeat=1,
            ),
            on_trace_ready=self._write,
        )

    def __enter__(self) -> Self:
        """Begin with the next step."""
        if self._profile:
            self._profile.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; what is not complete is not written."""
        if self._profile:
            self._profile.stop()
            self._profile = None

    def after_step(self) -> None:
        """Say that a step is done; after the last profiled one, write what was seen."""
        if self._profile:
            self._profile.step()

    def _write(self, measured: profile) -> None:
        measured.export_chrome_trace(str(self._state / TRACE))
        operations = most_expensive(measured, self._device, self._steps)
        TrainingOperations(
            first_step=self._first,
            steps=self._steps,
            device=self._device,
            operations=operations,
        ).write(self._state / OPERATIONS)


def most_expensive(
    measured: profile, device: Literal["cpu", "cuda"], steps: int
) -> tuple[Operation, ...]:
    """Return the operations that took longest by themselves, the longest first.

    Args:
        measured: What the profiler has seen.
        device: Where time counts.
        steps: Number of steps that it has seen.
    """
    attribute = f"self_{'device' if device == 'cuda' else 'cpu'}_time_total"
    microseconds = {
        # A kernel's time counts for the operation that has started it.
        event.key: (getattr(event, attribute), event.count)
        for event in measured.key_averages()
        if event.device_type == DeviceType.CPU and not event.key.startswith(WHOLE_STEP)
    }
    total = sum(time for time, _ in microseconds.values()) or 1
    longest = sorted(microseconds.items(), key=lambda item: -item[1][0])
    return tuple(
        Operation(
            name=name,
            calls_per_step=count / steps,
            seconds_per_step=time / 1e6 / steps,
            share=time / total,
        )
        for name, (time, count) in longest[:MOST_OPERATIONS]
    )
