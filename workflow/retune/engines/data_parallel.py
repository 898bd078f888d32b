"""Training steps of a model that every rank runs whole (ZeRO 0 to 3)."""

from collections.abc import Iterable, Iterator

import deepspeed
import deepspeed.comm as dist
import torch

from retune.compat.peft_names import published_name
from retune.engines.loss import (
    MeanLoss,
    backward_scale,
    count_labels,
    token_loss_sum,
    trained_labels,
)
from retune.engines.loss_in_forward import computes_loss
from retune.measuring.stopwatch import Stopwatch
from retune.models.packed_documents import copied
from retune.models.packed_inputs import packed_inputs, to_device
from retune.models.weight_names import named_weights
from retune.tokens.blocks import Batch


class DataParallel:
    """Optimizer steps with a DeepSpeedEngine.

    Attributes:
        engine: The engine.
        data_rank: Number of this rank among the data-parallel ranks.
        data_world_size: Number of data-parallel ranks.
    """

    def __init__(self, engine: deepspeed.DeepSpeedEngine, stopwatch: Stopwatch) -> None:
        """Use an engine.

        Args:
            engine: The engine, with its optimizer.
            stopwatch: Stopwatch that measures each forward and backward pass and each
                step of the optimizer.
        """
        self.engine = engine
        self.stopwatch = stopwatch
        self._computes_loss = computes_loss(engine.module)
        self.data_rank = dist.get_rank()
        self.data_world_size = dist.get_world_size()

    def train_batch(
        self, micro_batches: Iterable[Batch], num_labels: int, rate: float
    ) -> torch.Tensor:
        """Take one optimizer step; return the mean loss per predicted token, nats.

        Args:
            micro_batches: Micro-batches of this rank, one per accumulation step.
            num_labels: Number of predicted tokens of the global batch.
            rate: Learning rate.

        Returns:
            A scalar on the device, the same on all ranks.
        """
        engine, measure = self.engine, self.stopwatch.measure
        scale = backward_scale(
            num_labels, self.data_world_size, engine.gradient_accumulation_steps()
        )
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=engine.device)
        for batch in micro_batches:
            with measure("forward"):
                loss = self.loss_sum(batch)
            with measure("backward"):
                engine.backward(loss * scale)
            with measure("optimizer"):
                engine.step()
            total += loss.detach()
        dist.all_reduce(total)
        return total / num_labels

    @torch.no_grad()
    def mean_loss(self, batches: Iterable[Batch]) -> float:
        """Return the mean loss per predicted token of all ranks' batches, nats.

        Every rank must bring equally many batches, as ZeRO-3 needs.
        """
        self.engine.eval()
        mean = MeanLoss(self.engine.device)
        for batch in batches:
            mean.add(self.loss_sum(batch), count_labels(batch))
        loss = mean.over_all_ranks()
        # DeepSpeed has begun to gather parameters for a backward pass that never comes,
        # and nobody else could gather those.
        self.engine.empty_partition_cache()
        self.engine.train()
        return loss

    def loss_sum(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the losses of a batch's predicted tokens, nats, scalar."""
        engine = self.engine
        device = engine.device
        inputs = packed_inputs(
            engine.module.config, batch.input_ids, batch.position_ids, device
        )
        if not self._computes_loss:
            logits = engine(**inputs).logits.flatten(0, 1)
            return token_loss_sum(logits, to_device(batch.labels.reshape(-1), device))
        places, labels = trained_labels(batch.labels)
        loss: torch.Tensor = engine(
            **inputs,
            # From other memory than pinned the host may wait for all before the copy.
            labels=copied(labels, device),
            label_places=copied(places, device),
        )
        return loss

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the live weights under their names in Transformers, tied ones once.

        A model with adapters has its own weights under the names they have without
        adapters, and the adapters under the names in peft's files.
        """
        for name, weight in named_weights(self.engine.module):
            yield published_name(name), weight
