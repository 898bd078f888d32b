"""Which kernels compute the attention of a model."""

from transformers import PreTrainedConfig


def attention_kernels(config: PreTrainedConfig) -> str:
    """Return `eager`, `sdpa`, `flash_attention_2` or the like.

    Uses `_attn_implementation` of the config of a loaded model. Without it, packed
    documents could see each other under flash attention.
    """
    return config._attn_implementation or "eager"


def is_flash_attention(config: PreTrainedConfig) -> bool:
    """Return whether the kernels are of flash attention, in any of its versions."""
    return "flash" in attention_kernels(config)
