"""The numbers of a training that are published, from what its ranks have written."""

from collections.abc import Sequence

from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.checkpoints.checkpoint_progress import CheckpointProgress
from retune.errors import RetuneError
from retune.measuring.history import (
    Row,
    RunMeasurements,
    RunStart,
    steps_in,
    validations_in,
)
from retune.measuring.speed import speed_of


def metrics_of(
    rows: Sequence[Row],
    measured: RunMeasurements,
    start: RunStart,
    published: CheckpointProgress,
    seconds: float,
) -> FinetuneMetrics:
    """Return the numbers of a training that is done.

    Args:
        rows: Its history.
        measured: What was measured of the whole run.
        start: Where the last start of the run began.
        published: How far the training was at the published checkpoint, which has a
            validation loss.
        seconds: Time of this start of the step.

    Raises:
        RetuneError: If no step had a finite loss.
    """
    steps = steps_in(rows)
    losses = [row.train_loss for row in steps if row.train_loss is not None]
    if not losses:
        raise RetuneError(
            "no step had a finite loss: lower finetune.learning_rate, or look at the"
            " data"
        )
    assert published.validation_loss is not None
    speed = speed_of(steps)
    return FinetuneMetrics(
        steps=len(steps),
        published_step=published.step,
        skipped_steps=published.skipped,
        epochs=steps[-1].epoch,
        tokens=sum(row.num_labels for row in steps),
        train_loss=losses[-1],
        validation_loss=published.validation_loss,
        best_validation_loss=min(row.validation_loss for row in validations_in(rows)),
        step_seconds=rounded(speed.step_seconds),
        tokens_per_second=rounded(speed.tokens_per_second),
        computed_tokens_per_second=rounded(speed.computed_tokens_per_second),
        unpredicted_share=rounded(speed.unpredicted_share),
        data_share=rounded(speed.data_share),
        forward_share=rounded(speed.forward_share),
        backward_share=rounded(speed.backward_share),
        optimizer_share=rounded(speed.optimizer_share),
        save_share=rounded(speed.save_share),
        flops_per_token=measured.flops_per_token,
        device=measured.device,
        peak_memory_gb=tuple(round(gb, 3) for gb in measured.peak_memory_gb),
        memory_before_gb=tuple(round(gb, 3) for gb in measured.memory_before_gb),
        peak_memory_gb_by_phase={
            phase: round(gb, 3)
            for phase, gb in measured.peak_memory_gb_by_phase.items()
        },
        seconds=round(seconds, 1),
        resumed_from_step=start.step or None,
    )


def rounded(value: float) -> float:
    """Return a measured number with four significant digits."""
    return float(f"{value:.4g}")
