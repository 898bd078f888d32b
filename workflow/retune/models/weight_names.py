"""Names of a model's weights: which are tied, and which one an adapter belongs to."""

from collections.abc import Container

import torch
from torch import nn
from transformers import PreTrainedModel

from retune.compat.peft_names import adapted_layer
from retune.errors import RetuneError


def named_weights(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return parameters, tied ones once, and the buffers that are stored with them."""
    persistent = model.state_dict().keys()
    buffers = [(n, b) for n, b in model.named_buffers() if n in persistent]
    return [*model.named_parameters(), *buffers]


def tied_names(model: PreTrainedModel) -> dict[str, str]:
    """Return each name that `named_weights` leaves out -> the tied one that it has."""
    names = {id(weight): name for name, weight in named_weights(model)}
    everything = model.state_dict(keep_vars=True)
    return {
        name: names[id(weight)]
        for name, weight in everything.items()
        if names.get(id(weight), name) != name
    }


def adapted_weight(name: str, weights: Container[str]) -> str:
    """Return the name of the weight that an adapter is added to.

    Args:
        name: Published name of the adapter's tensor.
        weights: Published names of all weights of the model, tied ones once.

    Raises:
        RetuneError: If the adapter cannot be added to a single weight.
    """
    layer = adapted_layer(name)
    weight = f"{layer}.weight"
    if layer is None or weight not in weights:
        raise RetuneError(
            f"finetune.lora: {name} cannot be merged: it is no adapter of a linear"
            " layer, or that layer's weight is tied to another; leave it out of"
            " finetune.lora.target_modules"
        )
    return weight
