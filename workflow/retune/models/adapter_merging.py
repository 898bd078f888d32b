"""What a linear layer and its LoRA adapter are together: one merged weight."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch

from retune.compat.peft_names import MAGNITUDE, A, B, is_adapter
from retune.errors import RetuneError
from retune.models.tensor_spec import Tensors
from retune.models.weight_names import adapted_weight

# Options of peft's LoraConfig with which the merged weight is neither
# W + scaling * B @ A nor that of DoRA.
UNSUPPORTED = (
    *("lora_bias", "modules_to_save", "alpha_pattern"),
    *("trainable_token_indices", "target_parameters", "layer_replication"),
)


@dataclass(frozen=True)
class AdapterRule:
    """How an adapter is added to its weight.

    Attributes:
        alpha: The numerator of the scaling.
        is_rank_stabilized: Whether the denominator is the square root of the rank, and
            not the rank.
        is_dora: Whether the rows of the merged weight have magnitudes of their own.
        is_transposed: Whether the weight is [in, out], as in GPT-2's Conv1D.
    """

    alpha: float
    is_rank_stabilized: bool
    is_dora: bool
    is_transposed: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Return the rule of the content of peft's adapter_config.json.

        Raises:
            RetuneError: If adapters of this kind cannot be merged here.
        """
        check_supported(config)
        return cls(
            alpha=config["lora_alpha"],
            is_rank_stabilized=bool(config.get("use_rslora")),
            is_dora=bool(config.get("use_dora")),
            is_transposed=bool(config.get("fan_in_fan_out")),
        )


def merge_adapters(config: Mapping[str, Any], weights: Tensors) -> Tensors:
    """Return what computes the weights that have adapters, with these added.

    Args:
        config: The content of peft's adapter_config.json.
        weights: Name -> what reads that weight, of base model and adapters.

    Raises:
        RetuneError: If adapters of this kind cannot be merged here.
    """
    rule = AdapterRule.of(config)
    merged: Tensors = {}
    parts = (A, B, MAGNITUDE) if rule.is_dora else (A, B)
    for name in filter(is_adapter, weights):
        target = adapted_weight(name, weights)
        layer = name.removesuffix(A).removesuffix(B).removesuffix(MAGNITUDE)
        inputs = [weights[target], *(weights[layer + part] for part in parts)]
        merged[target] = partial(merge, target, rule, *inputs)
    return merged


def check_supported(config: Mapping[str, Any]) -> None:
    """Raise RetuneError if adapters of this kind cannot be merged here."""
    found = [key for key in UNSUPPORTED if config.get(key)]
    if config.get("bias", "none") != "none":
        found.append("bias")
    if found:
        raise RetuneError(
            f"finetune.lora: adapters with {', '.join(found)} cannot be merged; train"
            " without"
        )


def merge(
    name: str,
    rule: AdapterRule,
    read_weight: Callable[[], torch.Tensor],
    read_a: Callable[[], torch.Tensor],
    read_b: Callable[[], torch.Tensor],
    read_magnitude: Callable[[], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return V = W + scaling * B @ A, in fp32.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685, section 4.1; the scaling is
    alpha / r, or with `use_rslora` alpha / sqrt(r) (Kalajdzievski 2023,
    https://arxiv.org/abs/2312.03732).

    With DoRA each row of V gets its magnitude m instead of its own norm:
    m * V / |V| (Liu et al. 2024, https://arxiv.org/abs/2402.09353, section 4.1).

    Args:
        name: Name of the weight, for the message.
        rule: How the adapter is added.
        read_weight: Returns W as it was trained, [out, in], or with `fan_in_fan_out`
            [in, out].
        read_a: Returns A as it was trained, [r, in].
        read_b: Returns B as it was trained, [out, r].
        read_magnitude: Returns m as it was trained, [out]; None without DoRA.

    Returns:
        V in the shape of W.

    Raises:
        RetuneError: If the shapes do not fit together.
    """
    stored, a, b = read_weight(), read_a(), read_b()
    weight = stored.T if rule.is_transposed else stored
    if weight.shape != (len(b), a.shape[1]):
        wanted = [len(b), a.shape[1]]
        raise RetuneError(
            f"{name} is {list(stored.shape)}, its adapters with fan_in_fan_out"
            f" {rule.is_transposed} are for"
            f" {wanted[::-1] if rule.is_transposed else wanted}"
        )
    rank = len(a)
    scaling = rule.alpha / (math.sqrt(rank) if rule.is_rank_stabilized else rank)
    delta = b.float() @ a.float()
    merged = torch.add(weight.float(), delta, alpha=scaling)
    if read_magnitude is not None:
        norm = trained_norm(weight.to(a.dtype), delta.to(a.dtype), scaling)
        # This quotient, too, is rounded to the dtype of the adapters, as in training.
        merged *= (read_magnitude() / norm)[:, None]
    return merged.T if rule.is_transposed else merged


def trained_norm(
    weight: torch.Tensor, delta: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Return the norms of the rows of W + scaling * B @ A, rounded as in training.

    peft computes them in the dtype of the adapters, when DoRA begins and in every
    forward pass. Below fp32 a norm without these roundings would scale each row by an
    error that the trained model does not have.

    Args:
        weight: W, [out, in], in the dtype of the adapters.
        delta: B @ A, [out, in], in the same dtype.
        scaling: The factor of B @ A.

    Returns:
        The norms, [out], in the same dtype.
    """
    return torch.linalg.norm(weight + scaling * delta, dim=1)
