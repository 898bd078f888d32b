"""What a data-parallel rank trains on and validates with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from retune.artifacts.plan import Plan
from retune.artifacts.tokens_index import TokensIndex
from retune.tokens.blocks import IGNORE_INDEX, Batch, PackedBlocks
from retune.tokens.mixed_order import mixed_blocks_of_step
from retune.tokens.mixture import Mixture, Weights
from retune.tokens.order import micro_batches_of_rank


@dataclass(frozen=True)
class StepData:
    """What one optimizer step trains on.

    Attributes:
        step: Number of optimizer steps done before it.
        blocks: Block numbers of the global batch, int64 [global_batch_size].
        num_labels: Number of predicted tokens of the global batch.
        micro_batches: Micro-batches of this rank, one per accumulation step.
    """

    step: int
    blocks: np.ndarray
    num_labels: int
    micro_batches: list[Batch]


class DataShard:
    """The batches of one data-parallel rank; each is read when it is asked for.

    Attributes:
        training: All training blocks.
        validation: All validation blocks.
        mixture: How many training blocks of each source an epoch reads.
    """

    def __init__(
        self,
        tokens: Path,
        plan: Plan,
        seed: int,
        rank: int,
        world_size: int,
        weights: Weights | None = None,
    ) -> None:
        """Open the tokens.

        Args:
            tokens: Folder of tokens that `tokenize` made.
            plan: The plan that `configure` made.
            seed: Seed of the order of the training blocks.
            rank: Number of the data-parallel rank; all stages of a pipeline have one.
            world_size: Number of data-parallel ranks.
            weights: How often an epoch reads each source, `finetune.mix`; each once
                if there is none.
        """
        self.training = PackedBlocks(tokens, "train")
        mixture = Mixture.of(TokensIndex.read(tokens), weights or {})
        self.mixture = replace(mixture, num_blocks=len(self.training))
        self.validation = PackedBlocks(tokens, "validation")
        self._batch_size = plan.global_batch_size
        self._micro_batch_size = plan.micro_batch_size
        self._pins_memory = plan.accelerator != "cpu"
        self._seed = seed
        self._rank = rank
        self._world_size = world_size

    def step_data(self, step: int) -> StepData:
        """Return what optimizer step `step` (from 0) trains on."""
        blocks = mixed_blocks_of_step(self.mixture, step, self._batch_size, self._seed)
        rows = micro_batches_of_rank(
            blocks, self._rank, self._world_size, self._micro_batch_size
        )
        batches = [self.training.batch(row) for row in rows]
        if self._pins_memory:
            batches = [pinned(batch) for batch in batches]
        return StepData(step, blocks, self.training.num_labels(blocks), batches)

    def validation_batches(self) -> Iterator[Batch]:
        """Yield this rank's batches of all validation blocks.

        Every rank gets equally many, as ZeRO-3 and pipelines need. Where the blocks do
        not suffice, earlier ones fill the batch, and predict nothing.
        """
        micro, blocks = self._micro_batch_size, len(self.validation)
        for start in range(0, blocks, self._world_size * micro):
            places = start + self._rank * micro + np.arange(micro)
            batch = self.validation.batch(places % blocks)
            is_left_over = (places >= blocks)[:, np.newaxis]
            labels = np.where(is_left_over, IGNORE_INDEX, batch.labels)
            yield replace(batch, labels=labels)


def pinned(batch: Batch) -> Batch:
    """Return the batch in pinned memory, from which a GPU copies by itself."""
    arrays = (batch.input_ids, batch.position_ids, batch.labels)
    return Batch(*(torch.as_tensor(array).pin_memory() for array in arrays))
