"""The training objective, the same for both engines: cross-entropy of each next token.

Another loss, another mask of the labels or another objective goes here.
"""

import deepspeed.comm as dist
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from retune.tokens.blocks import IGNORE_INDEX, Array, Batch


def token_loss_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the sum of the losses of all predicted tokens.

    Args:
        logits: Output of the model's head, float [tokens, vocabulary].
        labels: Token to predict at each position, already shifted, int64 [tokens];
            IGNORE_INDEX where none is predicted.

    Returns:
        Nats, a scalar in fp32.
    """
    return cross_entropy(
        logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum"
    )


def trained_labels(labels: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens of a micro-batch are trained, and what is predicted there.

    Args:
        labels: Token to predict at each position, int64 [sequences, length], in main
            memory; IGNORE_INDEX where none is predicted.

    Returns:
        Number of each trained token among all tokens, and its label, both int64
        [trained].
    """
    flat = np.asarray(labels).reshape(-1)
    places = np.flatnonzero(flat != IGNORE_INDEX)
    return places, flat[places]


def count_labels(batch: Batch) -> int:
    """Return the number of predicted tokens of a batch."""
    return int((batch.labels != IGNORE_INDEX).sum())


def backward_scale(
    num_labels: int, data_world_size: int, accumulation_steps: int
) -> float:
    """Return what the sum of a micro-batch's losses is multiplied by for the backward.

    The gradient of a step is that of the mean loss per predicted token of the global
    batch. DeepSpeed averages gradients over data-parallel ranks and accumulation steps;
    the scale undoes that and divides by the number of predicted tokens. So every token
    weighs the same, however unevenly the ranks' micro-batches are filled.

    Args:
        num_labels: Number of predicted tokens of the global batch.
        data_world_size: Number of data-parallel ranks.
        accumulation_steps: Number of micro-batches per rank and step.
    """
    return data_world_size * accumulation_steps / num_labels


class MeanLoss:
    """Mean loss per predicted token of batches that are spread over all ranks."""

    def __init__(self, device: torch.device) -> None:
        """Start from no batch; the sums are kept on the device, in fp64."""
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)

    def add(self, loss_sum: torch.Tensor, num_labels: int) -> None:
        """Add batches of this rank.

        Args:
            loss_sum: Sum of the losses of their predicted tokens, nats, scalar.
            num_labels: Number of their predicted tokens.
        """
        self._sums[0] += loss_sum
        self._sums[1] += num_labels

    def over_all_ranks(self) -> float:
        """Return the mean of what all ranks have added, nats; all must call this."""
        dist.all_reduce(self._sums)
        return (self._sums[0] / self._sums[1]).item()
