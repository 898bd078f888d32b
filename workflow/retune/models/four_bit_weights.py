"""Base models whose linear layers are held in 4 bits: what QLoRA trains adapters on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from retune.compat.bitsandbytes_4bit import (
    after_each_weight,
    count_in_4bit,
    dequantize,
    layers_in_4bit,
    nf4_config,
    prepare_layers,
    weight_by_kernels,
    weight_of,
)
from retune.compat.glibc import return_freed_memory
from retune.errors import RetuneError
from retune.planning.bitsandbytes import check_bitsandbytes

# Rows of a layer's input for which its output is looked at. On GPUs bitsandbytes
# computes up to some 1,500 rows by one kernel or another, and more by a third.
ROWS = {"cpu": (1, 16), "cuda": (1, 16, 512, 2048)}
# Largest difference of two outputs, as a share of the largest output, that rounding in
# bf16 makes. A wrong kernel is off by about 1.
MOST_ROUNDING = 0.02

SETTING = "finetune.lora.load_in_4bit: true"


def num_parameters_in_4bit(skeleton: PreTrainedModel) -> int:
    """Return how many parameters of a model are held in 4 bits.

    Args:
        skeleton: The model, on the meta device; its layers are replaced.

    Raises:
        RetuneError: If bitsandbytes is not installed, or the model has no layers that
            it can hold in 4 bits.
    """
    check_bitsandbytes(SETTING)
    number = count_in_4bit(skeleton)
    if not number:
        raise RetuneError(
            f"{SETTING}: this {skeleton.config.model_type} model has no linear layers"
            " that could be held in 4 bits"
        )
    return number


def load_in_4bit(
    base: Path,
    dtype: torch.dtype,
    attn_implementation: str,
    go_on: Callable[[], None] = lambda: None,
) -> PreTrainedModel:
    """Return the model with the weights of its linear layers rounded to 4 bits (NF4).

    All other weights, those of embeddings, norms and the output head among them, are
    rounded to the dtype. The 4 bits are made on the CPU, wherever the model computes
    later, so that `consolidate` can make the very same.

    Args:
        base: Folder of the base model.
        dtype: Dtype in which the model computes.
        attn_implementation: Attention kernels.
        go_on: Called after each weight: all of them take half a minute per billion.

    Raises:
        RetuneError: If bitsandbytes is not installed.
    """
    check_bitsandbytes(SETTING)

    def after_a_weight() -> None:
        # What rounding it took for a moment lies between weights that stay.
        return_freed_memory()
        go_on()

    with after_each_weight(after_a_weight):
        model = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation=attn_implementation,
            quantization_config=nf4_config(dtype),
            device_map={"": "cpu"},
        )
    prepare_layers(model)
    return model


def computes(layer: Any, count: int) -> bool:
    """Return whether a layer's output is that of its weight, for a number of rows.

    Args:
        layer: A layer in 4 bits.
        count: The number of rows, which decides on GPUs which kernel computes.
    """
    weight = dequantize(layer.weight.data, layer.quant_state)
    numbers = torch.arange(count * weight.shape[1], device=weight.device)
    # No random numbers: those of a training must not depend on this.
    rows = numbers.float().sin().view(count, -1).to(weight.dtype)
    expected = nn.functional.linear(rows, weight, layer.bias).float()
    difference = (layer(rows).float() - expected).abs().max()
    return bool(difference <= MOST_ROUNDING * expected.abs().max())


@torch.no_grad()
def check_4bit_kernels(model: nn.Module) -> None:
    """Raise RetuneError if bitsandbytes computes otherwise than its 4 bits say.

    One layer of each shape is looked at, on the device that trains: the weight that its
    gradients are computed with, and its output for few and for many rows, for which
    bitsandbytes has different kernels on GPUs. Version 0.50 is wrong on CPUs with
    AVX-512 where the inputs of a layer are 16, 32 or 48 more than a multiple of 64.

    Args:
        model: A model that is held in 4 bits, with adapters or without.
    """
    layers = layers_in_4bit(model)
    of_shapes = {layer.quant_state.shape: name for name, layer in layers.items()}
    for (outputs, inputs), name in of_shapes.items():
        layer = layers[name]
        weight, computed = weight_of(layer), weight_by_kernels(layer)
        # The kernels of a GPU may round another way.
        step = torch.finfo(weight.dtype).eps
        is_right = torch.allclose(computed.float(), weight.float(), rtol=step, atol=0)
        rows = ROWS[weight.device.type]
        if not is_right or not all(computes(layer, count) for count in rows):
            raise RetuneError(
                f"{SETTING}: bitsandbytes computes layers of {inputs} inputs and"
                f" {outputs} outputs wrongly on this {weight.device.type}; leave it out"
            )
