"""LoRA adapters: their names, their frozen base, and the sum of both."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from retune.errors import RetuneError
from retune.models.published_weights import Tensors
from retune.training.weight_names import A, B, adapted_weight, is_adapter

# Options of peft's LoraConfig with which W + scaling * B @ A is not the whole truth.
UNSUPPORTED = (
    *("use_dora", "lora_bias", "modules_to_save", "alpha_pattern"),
    *("trainable_token_indices", "target_parameters", "layer_replication"),
)


def merge_adapters(lora: dict[str, Any], weights: Tensors) -> Tensors:
    """Return what computes the weights that have adapters, with these added.

    Args:
        lora: The content of peft's adapter_config.json.
        weights: How to read each weight, of base model and adapters.
    """
    check_supported(lora)
    merged = {}
    for name in filter(is_adapter, weights):
        target = adapted_weight(name, weights)
        layer = name.removesuffix(A).removesuffix(B)
        inputs = (weights[key] for key in (target, layer + A, layer + B))
        merged[target] = partial(merge, target, lora, *inputs)
    return merged


def check_supported(lora: dict[str, Any]) -> None:
    """Raise RetuneError if adapters of this kind cannot be merged here."""
    found = [key for key in UNSUPPORTED if lora.get(key)]
    if lora.get("bias", "none") != "none":
        found.append("bias")
    if found:
        raise RetuneError(
            f"finetune.lora: adapters with {', '.join(found)} cannot be merged; train"
            " without"
        )


def merge(
    name: str,
    lora: dict[str, Any],
    read_weight: Callable[[], torch.Tensor],
    read_a: Callable[[], torch.Tensor],
    read_b: Callable[[], torch.Tensor],
) -> torch.Tensor:
    """Return W + scaling * B @ A, computed in fp32 and rounded once to W's dtype.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4.1; the scaling is
    alpha / r, or with `use_rslora` alpha / sqrt(r) (Kalajdzievski 2023,
    https://arxiv.org/abs/2312.03732). W is [out, in], A [r, in] and B [out, r]; with
    `fan_in_fan_out`, for GPT-2's Conv1D, W is [in, out].
    """
    weight, a, b = read_weight(), read_a().float(), read_b().float()
    rank = len(a)
    scaling = lora["lora_alpha"] / (math.sqrt(rank) if lora.get("use_rslora") else rank)
    left, right = (a.T, b.T) if lora.get("fan_in_fan_out") else (b, a)
    if weight.shape != (left.shape[0], right.shape[1]):
        raise RetuneError(
            f"{name} is {list(weight.shape)}, its adapters with fan_in_fan_out"
            f" {bool(lora.get('fan_in_fan_out'))} are for"
            f" {[left.shape[0], right.shape[1]]}"
        )
    return torch.addmm(weight.float(), left, right, alpha=scaling).to(weight.dtype)
