"""The layers of a model, and their `forward` within activation checkpointing.

Uses `__wrapped__` of the `forward` that `GradientCheckpointingLayer` gives each of its
subclasses, and the attributes `gradient_checkpointing` and
`_gradient_checkpointing_func` of such a layer. Without these,
`configure.torch_compile` would compile nothing of a layer that computes its activations
again: PyTorch takes such a layer in one piece or not at all.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

Forward = Callable[..., Any]


def layers_of(model: nn.Module) -> list[GradientCheckpointingLayer]:
    """Return the layers of which a model is a sequence, in their order."""
    modules = model.modules()
    return [m for m in modules if isinstance(m, GradientCheckpointingLayer)]


def replace_within_checkpointing(
    layer: Any, change: Callable[[Forward], Forward]
) -> None:
    """Have a layer compute something else where it computes, once or again.

    Args:
        layer: One of `layers_of` a model.
        change: Function from the plain `forward` of the layer's class to another.
    """
    compute = change(type(layer).forward.__wrapped__)

    def forward(*arguments: Any, **options: Any) -> Any:
        if layer.gradient_checkpointing and layer.training:
            inner = partial(compute, layer, **options)
            return layer._gradient_checkpointing_func(inner, *arguments)
        return compute(layer, *arguments, **options)

    vars(layer)["forward"] = forward
