"""DeepSpeed's cross-entropy, which makes no copy of the logits in fp32."""

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
