"""Training steps of a model that every rank runs whole (ZeRO 0 to 3)."""

from collections.abc import Iterable, Iterator
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from torch.nn.functional import cross_entropy

from retune.models.skeleton import named_weights
from retune.training.models import logits_of
from retune.training.packing import IGNORE_INDEX, Batch
from retune.training.speed import Stopwatch
from retune.training.weight_names import published_name


class DataParallel:
    """Takes optimizer steps with a DeepSpeedEngine.

    Attributes:
        engine: The engine.
        data_rank: Which share of a batch is this rank's.
        data_world_size: Number of shares.
    """

    def __init__(self, engine: deepspeed.DeepSpeedEngine, stopwatch: Stopwatch) -> None:
        """Use an engine; the stopwatch gets the parts forward, backward, optimizer."""
        self.engine = engine
        self.stopwatch = stopwatch
        self.data_rank = dist.get_rank()
        self.data_world_size = dist.get_world_size()

    def train_batch(
        self, micro_batches: Iterable[Batch], num_labels: int, rate: float
    ) -> torch.Tensor:
        """Take one optimizer step; return the mean loss per predicted token, nats.

        The loss is the sum over all predicted tokens of the global batch divided by
        their number. DeepSpeed averages over ranks and accumulation steps, so each
        part is scaled up by both: every token weighs the same, however unevenly they
        are spread.

        Args:
            micro_batches: This rank's, as many as there are accumulation steps.
            num_labels: Predicted tokens of the global batch.
            rate: Learning rate.

        Returns:
            A scalar on the device, the same on all ranks.
        """
        engine, part = self.engine, self.stopwatch.part
        scale = self.data_world_size * engine.gradient_accumulation_steps() / num_labels
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=engine.device)
        for batch in micro_batches:
            with part("forward"):
                loss_sum = self.loss_sum(batch)
            with part("backward"):
                engine.backward(loss_sum * scale)
            with part("optimizer"):
                engine.step()
            total += loss_sum.detach()
        dist.all_reduce(total)
        return total / num_labels

    @torch.no_grad()
    def mean_loss(self, batches: Iterable[Batch]) -> float:
        """Return the mean loss per predicted token of all ranks' batches, nats.

        Every rank must bring equally many batches, as ZeRO-3 needs.
        """
        self.engine.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.engine.device)
        for batch in batches:
            sums[0] += self.loss_sum(batch)
            sums[1] += int((batch.labels != IGNORE_INDEX).sum())
        dist.all_reduce(sums)
        self.engine.train()
        return (sums[0] / sums[1]).item()

    def loss_sum(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the losses of predicted tokens, nats, scalar fp32."""
        device = self.engine.device
        logits = logits_of(
            self.engine,
            to_device(batch.input_ids, device),
            to_device(batch.position_ids, device),
        )
        return cross_entropy(
            logits.float().flatten(0, 1),
            to_device(batch.labels, device).flatten(),
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the live weights under their names in transformers, tied ones once.

        With adapters: the model's own under the names they have without, the adapters
        under those of peft's files.
        """
        for name, weight in named_weights(self.engine.module):
            yield published_name(name), weight


def to_device(values: Any, device: torch.device) -> torch.Tensor:
    """Return an array or tensor on the device; from pinned memory nobody waits."""
    return torch.as_tensor(values).to(device, non_blocking=True)
