"""The loss on the validation blocks."""

import math

from retune.engines.trainers import Trainer
from retune.errors import RetuneError
from retune.measuring.device_memory import PEAKS
from retune.supervision.heartbeat import Heartbeat
from retune.tokens.data_shard import DataShard
from retune.training.non_finite_steps import beating


def validation_loss(
    trainer: Trainer, data: DataShard, step: int, heartbeat: Heartbeat
) -> float:
    """Return the mean loss per predicted token of the validation blocks, nats.

    All ranks must call this.

    Args:
        trainer: Trainer with the model.
        data: Data of this rank.
        step: Number of optimizer steps done.
        heartbeat: Heartbeat of this rank, which beats before each batch.

    Raises:
        RetuneError: If the loss is not finite.
    """
    batches = beating(heartbeat, data.validation_batches(), step, "validation")
    with PEAKS.interrupt_training("validation"):
        loss = trainer.mean_loss(batches)
    if not math.isfinite(loss):
        raise RetuneError(
            f"the validation loss is {loss} after step {step}: lower"
            " finetune.learning_rate, or look at the data"
        )
    return loss
