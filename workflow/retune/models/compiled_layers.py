"""The decoder layers of a model, compiled by torch.compile."""

import logging

import torch
from transformers import PreTrainedModel

from retune.artifacts.plan import Plan
from retune.compat.transformers_layers import layers_of, replace_within_checkpointing

log = logging.getLogger("retune")


def compile_layers(model: PreTrainedModel, plan: Plan) -> None:
    """Let torch.compile compile the layers of a model when they are first called.

    Each layer by itself, so that layers that are alike are compiled once, and the
    modules and parameters keep their names.

    Args:
        model: The model, which may be on the meta device.
        plan: The plan of the training.
    """
    if not plan.torch_compile:
        return
    layers = layers_of(model)
    for layer in layers:
        replace_within_checkpointing(layer, torch.compile)
    if not layers:
        log.warning("configure.torch_compile: this model has no layers to compile")
