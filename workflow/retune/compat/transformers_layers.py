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


def kinds_of_layers(model: Any) -> list[tuple[Any, ...]]:
    """Return for each layer what tells it from others, in their order.

    Layers of a kind have weights of the same shapes, the same attention, and compute
    their activations again or do not.

    Args:
        model: The model, without adapters or with them.
    """
    types = getattr(model.config, "layer_types", None) or []
    return [
        (
            types[number] if number < len(types) else None,
            layer.gradient_checkpointing,
            tuple((n, tuple(p.shape)) for n, p in layer.named_parameters()),
        )
        for number, layer in enumerate(layers_of(model))
    ]


def keep_layers(model: Any, kept: list[int]) -> None:
    """Remove all layers of a model, which is only looked at, but some.

    Uses that a model computes the layers of the list that holds them, some as many as
    `num_hidden_layers` says, of the kinds in `layer_types`.

    Args:
        model: The model.
        kept: Numbers of the layers to keep, ascending.
    """
    layers = layers_of(model)
    gone = {id(layer) for number, layer in enumerate(layers) if number not in kept}
    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for number in reversed(range(len(module))):
                if id(module[number]) in gone:
                    del module[number]
    config = model.config
    if types := getattr(config, "layer_types", None):
        config.layer_types = [types[number] for number in kept]
    config.num_hidden_layers = len(kept)
