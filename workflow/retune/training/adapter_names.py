"""The names of a model's weights when peft has wrapped it."""

# Where peft keeps the model that it wraps.
WRAPPED = "base_model.model."


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
