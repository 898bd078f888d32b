"""Signs that a training goes well: heartbeats, and steps that are not finite."""

import logging
from collections.abc import Iterable, Iterator

from retune.artifacts.run_spec import RunSpec
from retune.errors import RetuneError
from retune.quantities import counted
from retune.supervision.heartbeat import Heartbeat
from retune.tokens.blocks import Batch, PackedBlocks
from retune.tokens.data_shard import StepData
from retune.training.recorder import TakenStep

log = logging.getLogger("retune")

# Rows that are listed of a step that is not finite.
MOST_ROWS = 8


def beating(
    heartbeat: Heartbeat, batches: Iterable[Batch], step: int, phase: str
) -> Iterator[Batch]:
    """Yield batches, with a beat before each.

    Args:
        heartbeat: Heartbeat of this rank.
        batches: The batches.
        step: Optimizer step that they belong to, from 1.
        phase: What is done with them, such as `training`.
    """
    for batch in batches:
        heartbeat.beat(step, phase)
        yield batch


class NonFiniteSteps:
    """Counts the steps whose loss or gradients are not finite.

    Attributes:
        count: Number of such steps since the start of the run, earlier starts included.
    """

    def __init__(self, run: RunSpec, training: PackedBlocks, count: int) -> None:
        """Go on counting.

        Args:
            run: The training.
            training: All training blocks.
            count: Number of such steps until now.
        """
        self.count = count
        self._limit = run.settings.max_skipped_steps
        # With fp16 DeepSpeed skips steps to find its loss scale; those do not count.
        self._searches_scale = run.plan.precision == "fp16"
        self._training = training

    def check(self, taken: TakenStep, data: StepData) -> None:
        """Count and log a step if it was not finite.

        Raises:
            RetuneError: If there are more of them than `max_skipped_steps`.
        """
        was_skipped = taken.was_skipped and not self._searches_scale
        if taken.train_loss is not None and not was_skipped:
            return
        self.count += 1
        where = (
            f"step {taken.step} (rows {self._rows_of(data)} of train in data/tokens,"
            " as show-tokens counts them)"
        )
        if self.count > self._limit:
            raise RetuneError(
                f"loss or gradients were not finite in {counted(self.count, 'step')}"
                f" (finetune.max_skipped_steps: {self._limit}), lately in {where}:"
                " lower finetune.learning_rate, or look at those rows"
            )
        log.warning("skipped %s: loss or gradients are not finite", where)

    def _rows_of(self, data: StepData) -> str:
        """Return the numbers of a step's sequences, the first of them only."""
        rows = self._training.sequences_of(data.blocks)
        more = ", ..." if len(rows) > MOST_ROWS else ""
        return ", ".join(map(str, rows[:MOST_ROWS])) + more
