"""How fast a training was: tokens per second, and what a step's time went to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from retune.measuring.history import StepRow


@dataclass(frozen=True)
class Speed:
    """Speed of a training, over all ranks.

    Attributes:
        step_seconds: Median of the time of a step, without validation and saving.
        tokens_per_second: Predicted tokens, which the loss counts, per second.
        computed_tokens_per_second: Tokens that the model sees, per second.
        unpredicted_share: Fraction of the tokens that the loss does not count.
        data_share: Fraction of the time, saving included, spent waiting for data.
        forward_share: Fraction of that time that the forward passes took.
        backward_share: Fraction of that time that the backward passes took.
        optimizer_share: Fraction of that time that the optimizer took.
        save_share: Fraction of that time that saving took.
    """

    step_seconds: float
    tokens_per_second: float
    computed_tokens_per_second: float
    unpredicted_share: float
    data_share: float
    forward_share: float
    backward_share: float
    optimizer_share: float
    save_share: float


def speed_of(rows: Sequence[StepRow]) -> Speed:
    """Return the speed of the steps of a history, of which there is at least one.

    The first step is left out if there are others, because it allocates and compiles.
    What was not measured counts as 0 seconds.
    """
    rows = rows[1:] or rows
    seconds = sum(row.seconds for row in rows)
    tokens = sum(row.num_tokens for row in rows)
    labels = sum(row.num_labels for row in rows)
    saving = sum(row.save_seconds for row in rows)

    def share(measured: Iterable[float | None]) -> float:
        return sum(value or 0.0 for value in measured) / (seconds + saving)

    return Speed(
        step_seconds=median(row.seconds for row in rows),
        tokens_per_second=labels / seconds,
        computed_tokens_per_second=tokens / seconds,
        unpredicted_share=1 - labels / tokens,
        data_share=share(row.data_seconds for row in rows),
        forward_share=share(row.forward_seconds for row in rows),
        backward_share=share(row.backward_seconds for row in rows),
        optimizer_share=share(row.optimizer_seconds for row in rows),
        save_share=share(row.save_seconds for row in rows),
    )
