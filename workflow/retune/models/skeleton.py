"""A model without weights: on the meta device it takes no memory."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


def build_skeleton(folder: Path, **options: Any) -> PreTrainedModel:
    """Return the causal language model of a folder's config.json, on the meta device.

    Args:
        folder: In the Hugging Face layout.
        options: For `from_config`, such as `attn_implementation`.

    Raises:
        Exception: Of whatever kind, if Transformers can make no model of it.
    """
    config = AutoConfig.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, **options
        )


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
