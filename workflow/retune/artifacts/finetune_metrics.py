"""What a training came to: metrics/finetune.json."""

from typing import ClassVar, Literal

from pydantic import Field

from retune.artifacts.artifact import SealedArtifact
from retune.artifacts.memory_prediction import MeasuredPhase


def is_none(value: int | None) -> bool:
    """Return whether a value is None."""
    return value is None


def is_empty(values: dict[MeasuredPhase, float]) -> bool:
    """Return whether nothing was measured."""
    return not values


class FinetuneMetrics(SealedArtifact):
    """Losses, speed and memory of a training.

    It vouches for the two tables of `retune.artifacts.training_history` and for the
    provenance.

    Attributes:
        format: Number of this format.
        steps: Number of optimizer steps done.
        published_step: Step of the checkpoint that is published.
        skipped_steps: Number of steps skipped until then, without those in which
            fp16's loss scale was searched.
        epochs: Passes over the training blocks done.
        tokens: Number of tokens predicted in all steps.
        train_loss: Training loss of the last step, nats per token.
        validation_loss: Validation loss of the published checkpoint, nats per token.
        best_validation_loss: Lowest validation loss of the run, nats per token.
        step_seconds: Median time of a step, seconds.
        tokens_per_second: Predicted tokens per second, over all ranks.
        computed_tokens_per_second: Tokens that the model sees per second, over all
            ranks.
        unpredicted_share: Fraction of the tokens that the loss does not count.
        data_share: Fraction of the time spent waiting for data; of the time, saving
            included, as the following fractions are.
        forward_share: Fraction of the time spent in forward passes.
        backward_share: Fraction of the time spent in backward passes.
        optimizer_share: Fraction of the time spent in the optimizer.
        save_share: Fraction of the time for which saving held the training up.
        flops_per_token: FLOPs of the model per token, forward and backward; None where
            they are not known.
        device: Name of the device that a rank computed on, as PyTorch gives it.
        peak_memory_gb: Most memory that each rank has held, GB.
        memory_before_gb: What each rank held before it loaded the model, GB; 0 on a
            GPU, where tensors alone are measured.
        peak_memory_gb_by_phase: Most that a rank's GPU has held in each phase since the
            step was last started, GB; empty on CPUs.
        seconds: Duration of the step since it was last started, seconds.
        resumed_from_step: Step that the run was resumed from; None if it was not.
    """

    STEP: ClassVar = "finetune"

    format: Literal[1] = 1
    steps: int
    published_step: int
    skipped_steps: int
    epochs: float
    tokens: int
    train_loss: float
    validation_loss: float
    best_validation_loss: float
    step_seconds: float
    tokens_per_second: float
    computed_tokens_per_second: float
    unpredicted_share: float
    data_share: float
    forward_share: float
    backward_share: float
    optimizer_share: float
    save_share: float
    flops_per_token: float | None
    device: str
    peak_memory_gb: tuple[float, ...]
    memory_before_gb: tuple[float, ...]
    # Written only where there are some.
    peak_memory_gb_by_phase: dict[MeasuredPhase, float] = Field({}, exclude_if=is_empty)
    seconds: float
    # Written only where there is one: DVC would show every run as a resumed one.
    resumed_from_step: int | None = Field(None, exclude_if=is_none)
