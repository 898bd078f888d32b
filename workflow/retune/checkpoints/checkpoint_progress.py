"""How far a training was when a checkpoint of it was saved."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckpointProgress:
    """How far a training was when a checkpoint of it was saved.

    Attributes:
        step: Number of optimizer steps done.
        skipped: Number of steps until then that were skipped because they were not
            finite.
        validation_loss: Mean loss per predicted token of the validation after this
            step, nats; None if there was none.
    """

    step: int
    skipped: int
    validation_loss: float | None
