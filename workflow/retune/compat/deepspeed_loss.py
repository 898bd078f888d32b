"""DeepSpeed's cross-entropy, which makes no copy of the logits in fp32."""

from typing import Any

import torch
from deepspeed.runtime.chunked_cross_entropy import chunked_cross_entropy


def cross_entropy_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the sum of the losses of tokens, nats, a scalar in fp32.

    Uses `chunked_cross_entropy`, which no page of DeepSpeed's documentation names. On a
    GPU it is a Triton kernel. Without it, `configure.chunked_cross_entropy` would have
    to compute in fp32 copies of the logits, or not at all.

    Args:
        logits: Logits in any precision, [tokens, vocabulary].
        labels: Token to predict, int64 [tokens].
    """
    return chunked_cross_entropy(logits, labels, reduction="sum")


class TracedCrossEntropy(torch.autograd.Function):
    """Takes what DeepSpeed's kernel for GPUs takes, on tensors without values.

    Its `_TritonCrossEntropy` keeps the logits, the labels and for each token the
    logarithm of a sum, and makes gradients in the dtype of the logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return a loss for each token, fp32 [tokens]."""
        losses, sums = (
            torch.empty(len(logits), dtype=torch.float32, device=logits.device)
            for _ in range(2)
        )
        ctx.save_for_backward(logits, labels, sums)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return gradients of the logits."""
        logits, *_ = ctx.saved_tensors
        return torch.empty_like(logits), None


def traced_cross_entropy_sum(
    logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return what `cross_entropy_sum` does on a GPU, of tensors without values."""
    losses: torch.Tensor = TracedCrossEntropy.apply(logits.contiguous(), labels)
    return losses.sum()
