"""What weights are called in a model, and in a model that peft has wrapped."""

from collections.abc import Container

from retune.errors import RetuneError

# Where peft keeps the model that it wraps.
WRAPPED = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"


def is_adapter(name: str) -> bool:
    """Return whether a tensor belongs to an adapter."""
    return ".lora_" in name


def published_name(name: str) -> str:
    """Return the name without adapters of a wrapped model's weight.

    Base weights get the name they have in the model before peft wraps it, adapters the
    one in peft's adapter_model.safetensors.
    """
    if is_adapter(name):
        return name.replace(".default.", ".")
    return name.removeprefix(WRAPPED).replace(".base_layer.", ".")


def adapted_weight(name: str, weights: Container[str]) -> str:
    """Return the name of the weight that an adapter is added to.

    Args:
        name: Of the adapter's tensor, as published.
        weights: Names of all weights of the model, tied ones once.

    Raises:
        RetuneError: If it cannot be added to a single weight.
    """
    layer = name.removesuffix(A).removesuffix(B)
    weight = f"{layer.removeprefix(WRAPPED)}.weight"
    if layer == name or weight not in weights:
        raise RetuneError(
            f"finetune.lora: {name} cannot be merged: it is no adapter of a linear"
            " layer, or that layer's weight is tied to another; leave it out of"
            " finetune.lora.target_modules"
        )
    return weight
