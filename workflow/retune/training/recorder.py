"""The history of a training, and the line of each validation in its log."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import deepspeed.comm as dist

from retune.artifacts.memory_prediction import MeasuredPhase
from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.resume import Resume
from retune.engines.trainers import Trainer, device_name, flops_per_token
from retune.measuring.device_memory import PEAKS, peak_memory_gb
from retune.measuring.history import (
    History,
    RunMeasurements,
    RunStart,
    StepRow,
    ValidationRow,
)
from retune.measuring.stopwatch import Stopwatch
from retune.tokens.data_shard import DataShard, StepData
from retune.units import GB

log = logging.getLogger("retune")


@dataclass(frozen=True)
class TakenStep:
    """What taking one optimizer step came to.

    Attributes:
        step: Number of optimizer steps done, this one included.
        train_loss: Mean loss per predicted token of the global batch, nats; None if it
            is not finite.
        learning_rate: Learning rate of the step.
        grad_norm: Norm of the gradient before clipping; None where it is not known.
        was_skipped: Whether DeepSpeed found the gradients not finite and left the
            weights unchanged.
        seconds: Time from the first batch until the loss was there.
    """

    step: int
    train_loss: float | None
    learning_rate: float
    grad_norm: float | None
    was_skipped: bool
    seconds: float


class Recorder:
    """Writes the history of a training; only rank 0's is kept."""

    def __init__(
        self,
        run: RunSpec,
        state: Path,
        trainer: Trainer,
        data: DataShard,
        stopwatch: Stopwatch,
        resume: Resume | None,
    ) -> None:
        """Open the history of a run, and keep its rows until the resumed step.

        Args:
            run: The training.
            state: Folder of its checkpoints.
            trainer: Trainer with the model.
            data: Data of this rank.
            stopwatch: Stopwatch of the passes of a step.
            resume: What was resumed; None for a new run.
        """
        start = RunStart(resume.step, resume.saved_on) if resume else RunStart(0, None)
        self.history = History(state, dist.get_rank(), start)
        self._plan = run.plan
        self._sequence_length = data.training.sequence_length
        self._blocks_per_epoch = data.mixture.blocks_per_epoch
        self._stopwatch = stopwatch
        self._flops = flops_per_token(trainer, run.base, self._sequence_length)
        self._last: TakenStep | None = None

    def add_step(
        self, taken: TakenStep, data: StepData, waited: float, save_seconds: float
    ) -> None:
        """Write the row of a step.

        Args:
            taken: What the step came to.
            data: Data of the step.
            waited: Seconds for which the loop waited for the data.
            save_seconds: Seconds for which saving after the step before held it up.
        """
        passes = self._stopwatch.read()
        blocks = taken.step * self._plan.global_batch_size
        row = StepRow(
            step=taken.step,
            epoch=round(blocks / self._blocks_per_epoch, 4),
            train_loss=taken.train_loss,
            learning_rate=taken.learning_rate,
            grad_norm=taken.grad_norm,
            num_labels=data.num_labels,
            num_tokens=len(data.blocks) * self._sequence_length,
            was_skipped=taken.was_skipped,
            seconds=taken.seconds + waited,
            data_seconds=waited,
            forward_seconds=passes.forward,
            backward_seconds=passes.backward,
            optimizer_seconds=passes.optimizer,
            save_seconds=save_seconds,
            peak_memory_gb=peak_memory_gb(),
        )
        self.history.write(row)
        self._last = taken

    def add_validation(self, step: int, total: int, loss: float) -> None:
        """Write the row of a validation, and a line in the log.

        Args:
            step: Number of optimizer steps done.
            total: Number of optimizer steps of the run.
            loss: Validation loss, nats.
        """
        self.history.write(ValidationRow(step, loss))
        if self._last:
            shown = step, total, self._last.train_loss or math.nan, loss
            log.info("step %d of %d: training loss %.3f, validation loss %.3f", *shown)

    def finish(self, memory_before: float) -> None:
        """Write what was measured of the whole run; all ranks must call this.

        Args:
            memory_before: What this rank held before it loaded the model, GB.
        """
        PEAKS.end("training")
        memory = [(0.0, 0.0, PEAKS.bytes)] * dist.get_world_size()
        dist.all_gather_object(memory, (peak_memory_gb(), memory_before, PEAKS.bytes))
        peaks, before, by_phase = map(list, zip(*memory, strict=True))
        self.history.finish(
            RunMeasurements(
                peaks,
                self._flops,
                device_name(self._plan),
                before,
                largest_in_gb(by_phase),
            )
        )


def largest_in_gb(
    by_rank: Sequence[Mapping[MeasuredPhase, int]],
) -> dict[MeasuredPhase, float]:
    """Return the most that any rank has held in each phase, GB.

    Args:
        by_rank: Bytes of each phase, on each rank.
    """
    phases = dict.fromkeys(phase for peaks in by_rank for phase in peaks)
    return {
        phase: max(peaks.get(phase, 0) for peaks in by_rank) / GB for phase in phases
    }
