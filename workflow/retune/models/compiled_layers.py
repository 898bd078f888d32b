"""The decoder layers of a model, compiled by torch.compile."""

import logging

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from retune.artifacts.plan import Plan
from retune.compat.transformers_causal_lm import replace_forward

log = logging.getLogger("retune")


def compile_layers(model: PreTrainedModel, plan: Plan) -> None:
    """Let torch.compile compile the layers of a model when they are first called.

    Each layer by itself, so that layers that are alike are compiled once, and the
    modules and parameters keep their names. What is compiled is within what computes
    activations again, because PyTorch would take that in one piece or not at all.

    Args:
        model: The model, which may be on the meta device.
        plan: The plan of the training.
    """
    if not plan.torch_compile:
        return
    # Transformers makes the layers of which a model is a sequence from this class.
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        replace_forward(layer, torch.compile(layer.forward))
    if not layers:
        log.warning("configure.torch_compile: this model has no layers to compile")
