"""Has the CPU take the memory that kernels of GPUs take, on tensors without values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from retune.compat.deepspeed_loss import traced_cross_entropy_sum
from retune.engines import chunked_loss
from retune.models import varlen_attention
from retune.models.varlen_attention import fits_flash


@contextmanager
def kernels_of(accelerator: str) -> Iterator[None]:
    """Have what is computed on the CPU take what it takes on the ranks' devices."""
    if accelerator == "cpu":
        yield
        return
    replaced: list[tuple[Any, str, Any]] = [
        (varlen_attention, "can_flash", fits_flash),
        (varlen_attention, "scaled_dot_product_attention", fused_attention),
        (chunked_loss, "cross_entropy_sum", traced_cross_entropy_sum),
        (chunked_loss, "CHUNK_TOKENS", {"cpu": chunked_loss.CHUNK_TOKENS["cuda"]}),
        (chunked_loss, "WORDS_MULTIPLE", {"cpu": chunked_loss.WORDS_MULTIPLE["cuda"]}),
        (nn.Dropout, "forward", fused_dropout),
    ]
    kept = [(place, name, getattr(place, name)) for place, name, _ in replaced]
    for place, name, value in replaced:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in kept:
            setattr(place, name, value)


def fused_attention(*tensors: Any, **options: Any) -> torch.Tensor:
    """Return attention as a GPU has it: with dropout no scores are kept either."""
    return scaled_dot_product_attention(*tensors, **{**options, "dropout_p": 0.0})


def fused_dropout(module: nn.Dropout, values: torch.Tensor) -> torch.Tensor:
    """Return dropout as a GPU computes it, which keeps a byte for each value."""
    if not module.p or not module.training:
        return values
    return torch.native_dropout(values, module.p, train=True)[0]
