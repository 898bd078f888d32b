"""What was predicted of a training, and what was then measured, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.artifacts.memory_prediction import MeasuredPhase, MemoryPrediction
from retune.artifacts.plan import PLAN, REASONS, Plan, Reasons
from retune.errors import RetuneError
from retune.planning.prediction_line import gigabytes, seconds
from retune.units import GB

Row = tuple[str, ...]
# Here, because a change of the page's words is to begin no training anew.
MEASURED_PHASES: dict[MeasuredPhase, str] = {
    "load": "while loading",
    "optimizer_init": "while making the optimizer",
    "resume": "while resuming",
    "training": "in training steps",
    "validation": "in validation",
    "save": "while saving",
}
HEADER = ("", "predicted", "measured", "the prediction is")


@dataclass(frozen=True)
class PhaseScore:
    """What PyTorch was predicted to allocate at most in a phase, beside what it has.

    Attributes:
        name: When that is, in words.
        predicted_gb: Predicted for a rank, GB.
        measured_gb: The most that a rank has, GB.
    """

    name: str
    predicted_gb: float
    measured_gb: float

    @property
    def row(self) -> Row:
        """A row of a table with `HEADER`."""
        return (
            self.name,
            gigabytes(self.predicted_gb),
            gigabytes(self.measured_gb),
            deviation(self.predicted_gb, self.measured_gb),
        )


@dataclass(frozen=True)
class Score:
    """Predictions beside measurements of a training.

    On a GPU both memories are those of PyTorch's tensors. On a CPU only the memory of
    the whole process can be measured, which also holds libraries and files that are
    read; what it held before the model was loaded is left out.

    Attributes:
        on_gpu: Whether the ranks are GPUs.
        predicted_gb: The most that a rank was predicted to hold in tensors, GB.
        measured_gb: The most that a rank has held, GB.
        predicted_seconds: Predicted time of an optimizer step; None if there is none.
        measured_seconds: Median time of an optimizer step, seconds.
        phases: The memory of each phase that was predicted and measured; none on CPUs.
    """

    on_gpu: bool
    predicted_gb: float
    measured_gb: float
    predicted_seconds: float | None
    measured_seconds: float
    phases: tuple[PhaseScore, ...] = ()

    @classmethod
    def of(cls, plan: Plan, reasons: Reasons, measured: FinetuneMetrics) -> Self:
        """Return the score of a training that is done."""
        grown = [
            peak - before
            for peak, before in zip(
                measured.peak_memory_gb, measured.memory_before_gb, strict=True
            )
        ]
        return cls(
            on_gpu=plan.accelerator == "cuda",
            predicted_gb=reasons.memory.peak_tensor_bytes / GB,
            measured_gb=max(grown),
            predicted_seconds=reasons.step_seconds,
            measured_seconds=measured.step_seconds,
            phases=tuple(phase_scores(reasons.memory, measured)),
        )

    @classmethod
    def read(cls, plan: Path, measured: FinetuneMetrics) -> Self | None:
        """Return the score of a training that is done; None without a prediction.

        No result depends on the reasons for a plan, so they may be missing where it
        was trained, or be those of another version.

        Args:
            plan: Folder of the plan.
            measured: What was measured.
        """
        try:
            reasons = Reasons.read(plan / REASONS)
        except (FileNotFoundError, RetuneError):
            return None
        return cls.of(Plan.read(plan / PLAN), reasons, measured)

    @property
    def line(self) -> str:
        """The score in one line; empty on CPUs, where no two figures mean the same."""
        if not self.on_gpu:
            return ""
        memory = gigabytes(self.measured_gb)
        line = (
            f"{memory} of tensors at most ({gigabytes(self.predicted_gb)} predicted,"
            f" {deviation(self.predicted_gb, self.measured_gb)})"
        )
        if self.predicted_seconds is None:
            return line
        return (
            f"{line}, {seconds(self.measured_seconds)} s/step"
            f" ({seconds(self.predicted_seconds)} predicted,"
            f" {deviation(self.predicted_seconds, self.measured_seconds)})"
        )

    @property
    def rows(self) -> list[Row]:
        """The score as rows of a table with `HEADER`."""
        predicted, measured = self.predicted_gb, self.measured_gb
        if not self.on_gpu:
            return [
                (
                    "memory of a rank",
                    f"{gigabytes(predicted)} of tensors",
                    f"{gigabytes(measured)} more than before the model was loaded",
                    "without libraries and files that are read",
                )
            ]
        rows: list[Row] = [
            (
                "most tensors of a rank",
                gigabytes(predicted),
                gigabytes(measured),
                deviation(predicted, measured),
            ),
            *(phase.row for phase in self.phases),
        ]
        if self.predicted_seconds is not None:
            rows.append(
                (
                    "time of a step",
                    f"{seconds(self.predicted_seconds)} s",
                    f"{seconds(self.measured_seconds)} s",
                    deviation(self.predicted_seconds, self.measured_seconds),
                )
            )
        return rows


def phase_scores(
    memory: MemoryPrediction, measured: FinetuneMetrics
) -> Iterator[PhaseScore]:
    """Yield the memory of each phase that was predicted and measured."""
    for phase, measured_gb in measured.peak_memory_gb_by_phase.items():
        predicted = memory.tensor_bytes_of(phase)
        # A small model rounds to nothing.
        if predicted is not None and measured_gb:
            yield PhaseScore(MEASURED_PHASES[phase], predicted / GB, measured_gb)


def deviation(predicted: float, measured: float) -> str:
    """Return by how much a prediction was wrong, in percent of what was measured."""
    share = 100 * (predicted / measured - 1)
    if abs(share) < 0.05:
        return "right"
    return f"{abs(share):,.1f} % too {'much' if share > 0 else 'little'}"
