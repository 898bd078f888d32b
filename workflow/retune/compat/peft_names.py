"""What peft calls the weights of a model that it has wrapped, and of its adapters.

Uses the attributes `base_model.model` and `base_layer` of peft's wrappers, its default
adapter's name, and its parameters' names. Without them, what LoRA has trained could not
be merged into the model.
"""

# Where peft keeps the model that it wraps.
WRAPPED = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"
# The magnitudes of DoRA, which have this name without `.weight` in peft's file.
MAGNITUDE = ".lora_magnitude_vector"


def is_adapter(name: str) -> bool:
    """Return whether a tensor belongs to an adapter."""
    return ".lora_" in name


def published_name(name: str) -> str:
    """Return the name that a weight of a wrapped model is published by.

    That of a base weight is its name in the model before peft wraps it; that of an
    adapter is its name in peft's adapter_model.safetensors.
    """
    if is_adapter(name):
        return name.replace(".default.", ".").replace(f"{MAGNITUDE}.weight", MAGNITUDE)
    return name.removeprefix(WRAPPED).replace(".base_layer.", ".")


def adapted_layer(name: str) -> str | None:
    """Return the layer in the unwrapped model that an adapter is added to.

    Args:
        name: Published name of a tensor.

    Returns:
        None if the tensor is neither one of the two matrices of a linear layer's
        adapter nor its magnitudes.
    """
    layer = name.removesuffix(A).removesuffix(B).removesuffix(MAGNITUDE)
    return None if layer == name else layer.removeprefix(WRAPPED)
