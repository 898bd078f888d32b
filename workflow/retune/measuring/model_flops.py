"""The floating-point operations of a training step, counted from the model's shapes."""

import math
from typing import TYPE_CHECKING

from retune.compat.bitsandbytes_4bit import layers_in_4bit
from retune.compat.deepspeed_parameters import whole_shape

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig


def multiplying_weights(model: "nn.Module") -> tuple[int, int]:
    """Return how many weights a token is multiplied with: trained ones, frozen ones.

    All matrices count but the tables of embeddings, which are looked up; an output head
    that shares its weights with a table counts.

    Args:
        model: The whole model, and no stage of a pipeline. It may be on the meta
            device, have adapters, or be sharded by ZeRO-3.
    """
    trained = frozen = 0
    layers = layers_in_4bit(model).values()
    frozen += sum(layer.in_features * layer.out_features for layer in layers)
    in_4bit = set(layers)
    for module in model.modules():
        if module in in_4bit:
            continue
        if hasattr(module, "num_embeddings"):
            continue
        for weight in module.parameters(recurse=False):
            shape = whole_shape(weight)
            if len(shape) < 2:
                continue
            if weight.requires_grad:
                trained += math.prod(shape)
            else:
                frozen += math.prod(shape)
    return trained, frozen


def model_flops_per_token(
    config: "PreTrainedConfig", trained: int, frozen: int, sequence_length: int
) -> float | None:
    """Return the FLOPs of the forward and backward pass, per token of a sequence.

    Each weight that multiplies counts 6, and attention counts 12 x layers x heads x
    head size x sequence length (Chowdhery et al., PaLM, 2022, appendix B). Attention
    counts as if each token saw the whole sequence, neither halved for the causal mask
    nor less for packed documents, as is the convention. A frozen weight counts 4,
    because it has no gradient. Recomputed activations do not count.

    Args:
        config: Configuration of the model.
        trained: Number of trained weights that multiply (see `multiplying_weights`).
        frozen: Number of frozen weights that multiply.
        sequence_length: Tokens per sequence.

    Returns:
        None for a mixture of experts, which multiplies with some of its weights only.
    """
    config = config.get_text_config()
    if getattr(config, "num_experts_per_tok", None):
        return None
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    attention = config.num_hidden_layers * heads * head_size * sequence_length
    return float(6 * trained + 4 * frozen + 12 * attention)
