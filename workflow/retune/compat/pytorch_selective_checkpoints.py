"""Activation checkpointing that keeps the results of operators that take long.

Uses the names of operators that begin with an underscore, `_schema` of an operator, and
`TorchDispatchMode` of `torch.utils._python_dispatch`. Without these
`configure.activation_checkpointing: selective` would compute again what it is there to
keep, would draw other random numbers when it computes again, or would fail at ZeRO-3.
"""

from contextlib import AbstractContextManager
from typing import Any

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import (
    CheckpointPolicy,
    create_selective_checkpoint_contexts,
)

# Products of activations with weights. Those of two activations are `bmm`: within
# attention that has no kernel of its own they have an entry for each pair of tokens.
PRODUCTS = {"aten::mm", "aten::addmm", "aten::_scaled_mm", "aten::_grouped_mm"}
ATTENTION = {
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_fused_attention_overrideable",
    "torch_attn::_varlen_attn",
    "flash_attn::_flash_attn_forward",
    "flash_attn::_flash_attn_varlen_forward",
    "flex_attention",
}
KEPT = PRODUCTS | ATTENTION


def selective_contexts() -> tuple[Any, Any]:
    """Return the contexts of a layer's forward pass, and of its second one."""
    return create_selective_checkpoint_contexts(policy)


def selective_contexts_with_shards() -> tuple[AbstractContextManager, Any]:
    """Return the contexts of a layer whose weights are sharded (ZeRO-3).

    DeepSpeed gathers and frees weights within the layer, by operators of which there
    are fewer or more in the second pass. PyTorch's context would take an operator that
    is new for an error.
    """
    first, second = selective_contexts()
    return first, OnlyKept(second)


def policy(
    context: Any, operator: Any, *arguments: Any, **options: Any
) -> CheckpointPolicy:
    """Return whether the result of an operator is kept for the backward pass.

    Attention with dropout is not: if it were left out of the second pass, what comes
    after it there would draw other random numbers.
    """
    if operator.name() not in KEPT or has_dropout(operator, arguments, options):
        return CheckpointPolicy.PREFER_RECOMPUTE
    return CheckpointPolicy.MUST_SAVE


def has_dropout(operator: Any, arguments: tuple[Any, ...], options: Any) -> bool:
    """Return whether a call of an operator drops some of its results at random."""
    if not isinstance(operator, OpOverload):
        return False
    names = [argument.name for argument in operator._schema.arguments]
    given = dict(zip(names, arguments, strict=False)) | options
    return given.get("dropout_p", 0.0) > 0


class OnlyKept(TorchDispatchMode):
    """Shows another mode nothing but the operators whose results may be kept."""

    def __init__(self, mode: TorchDispatchMode) -> None:
        """Use a mode."""
        super().__init__()
        self._mode = mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Return the result of an operator; PyTorch calls this."""
        if func.name() in KEPT:
            return self._mode.__torch_dispatch__(func, types, args, kwargs)
        return func(*args, **(kwargs or {}))
