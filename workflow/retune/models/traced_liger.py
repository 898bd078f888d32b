"""Has a model take the memory that it takes with Liger's kernels, without these.

The kernels are Triton's and cannot be followed on tensors without values. What they
keep for the gradient is known: an RMSNorm its input and one number per row, SwiGLU its
two inputs, which its backward pass overwrites, and the rotary embedding, which works in
place, nothing of its own. Simple operations that read and write as many bytes take the
place of the kernels, so that these are counted, too.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from retune.compat.transformers_causal_lm import replace_forward

ROTARY = "apply_rotary_pos_emb"


@contextmanager
def memory_of_liger(model: PreTrainedModel) -> Iterator[None]:
    """Have a model without values take the memory that it takes with the kernels.

    Args:
        model: The model, which is only looked at.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            replace_forward(module, partial(normalized, module))
        elif hasattr(module, "gate_proj") and hasattr(module, "down_proj"):
            replace_forward(module, partial(gated, module))
    family = sys.modules[type(model).__module__]
    rotary = getattr(family, ROTARY, None)
    if rotary is None:
        yield
        return
    setattr(family, ROTARY, rotated)
    try:
        yield
    finally:
        setattr(family, ROTARY, rotary)


def normalized(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return the output of an RMSNorm."""
    output: torch.Tensor = RMSNorm.apply(hidden, module.weight)
    return output


def gated(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return the output of a gated MLP."""
    inner = SwiGLU.apply(module.gate_proj(hidden), module.up_proj(hidden))
    output: torch.Tensor = module.down_proj(inner)
    return output


def rotated(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *_: Any,
    **__: Any,
) -> Any:
    """Return queries and keys with the rotary embedding."""
    return Rotary.apply(query, key, cos, sin)


class RMSNorm(torch.autograd.Function):
    """Keeps its input, and a number in fp32 for each row."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return a tensor like the input."""
        rows = torch.empty(hidden.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(hidden, weight, rows)
        return hidden.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradient of the output, overwritten, and one of the weight."""
        hidden, weight, _ = ctx.saved_tensors
        return gradients[0].mul_(hidden), torch.empty_like(weight)


class SwiGLU(torch.autograd.Function):
    """Keeps its inputs, which become their gradients."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """Return a tensor like the inputs."""
        ctx.save_for_backward(gate, up)
        return gate * up

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the inputs, overwritten."""
        return tuple(saved.mul_(gradients[0]) for saved in ctx.saved_tensors)


class Rotary(torch.autograd.Function):
    """Works in place on queries and keys, [sequences, heads, length, head size]."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return queries and keys, in the memory in which they are."""
        ctx.save_for_backward(cos, sin)
        return overwritten(query), overwritten(key)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return the gradients, overwritten."""
        return *map(overwritten, gradients), None, None


def overwritten(heads: torch.Tensor) -> torch.Tensor:
    """Return a tensor whose tokens stand one after the other in memory, overwritten."""
    return heads.detach().transpose(1, 2).contiguous().neg_().transpose(1, 2)
