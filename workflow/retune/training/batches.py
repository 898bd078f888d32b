"""A rank's share of the data: what each step trains on, and the validation blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retune.training.order import blocks_of_step, share_of_rank
from retune.training.packing import IGNORE_INDEX, Batch, PackedBlocks


@dataclass(frozen=True)
class StepData:
    """What one optimizer step trains on.

    Attributes:
        step: Optimizer steps done before it.
        blocks: Block numbers of the global batch, int64 [global_batch_size].
        num_labels: Predicted tokens of the global batch.
        micro_batches: This rank's share, one per accumulation step.
    """

    step: int
    blocks: np.ndarray
    num_labels: int
    micro_batches: list[Batch]


class ShareOfData:
    """What of the packed blocks is a rank's; read when asked for, never kept.

    Attributes:
        training: All training blocks.
        validation: All validation blocks.
    """

    def __init__(
        self, tokens: Path, plan: dict[str, Any], seed: int, rank: int, world_size: int
    ) -> None:
        """Be share `rank` of `world_size`.

        Args:
            tokens: What `tokenize` wrote.
            plan: What `configure` resolved.
            seed: Of the order.
            rank: Which share; all stages of a pipeline have the same.
            world_size: Number of shares.
        """
        self.training = PackedBlocks(tokens, "train")
        self.validation = PackedBlocks(tokens, "validation")
        self._batch_size: int = plan["global_batch_size"]
        self._micro_batch_size: int = plan["micro_batch_size"]
        self._pin = plan["hardware"]["accelerator"] != "cpu"
        self._seed = seed
        self._rank = rank
        self._world_size = world_size

    def of_step(self, step: int) -> StepData:
        """Return what optimizer step `step` (from 0) trains on."""
        blocks = blocks_of_step(step, self._batch_size, len(self.training), self._seed)
        mine = share_of_rank(
            blocks, self._rank, self._world_size, self._micro_batch_size
        )
        batches = [self.training.batch(micro_batch) for micro_batch in mine]
        if self._pin:
            batches = [pinned(batch) for batch in batches]
        return StepData(step, blocks, self.training.num_labels(blocks), batches)

    def of_validation(self) -> Iterator[Batch]:
        """Yield this rank's share of all validation blocks.

        Every rank gets equally many, as ZeRO-3 and pipelines need; the places that are
        left over predict nothing.
        """
        micro, blocks = self._micro_batch_size, len(self.validation)
        for start in range(0, blocks, self._world_size * micro):
            places = start + self._rank * micro + np.arange(micro)
            batch = self.validation.batch(places % blocks)
            batch.labels[places >= blocks] = IGNORE_INDEX
            yield batch


def pinned(batch: Batch) -> Batch:
    """Return a batch whose way to a GPU nobody has to wait for."""
    arrays = (batch.input_ids, batch.position_ids, batch.labels)
    return Batch(*(torch.from_numpy(array).pin_memory() for array in arrays))
