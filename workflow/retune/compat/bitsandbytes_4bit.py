"""Linear layers whose frozen weights bitsandbytes holds in 4 bits.

Uses of bitsandbytes' `Linear4bit` the attributes `quant_state` and
`support_avx512bf16_for_cpu`, the entries `weight.*` of its state and, as Transformers
sets it, `source_cls`; of a `QuantState` `absmax`, `code`, `blocksize`, `shape` and
`dtype`; and which layers Transformers replaces. Without these it would not be known
what the weights of a layer are, and nothing could be merged into them. Of Transformers'
`Bnb4bitQuantize` it replaces `convert` for a while.

bitsandbytes, and what imports it, is imported where it is needed only: it is not always
installed, and takes a second.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

# Of these, and of no other option, are the 4 bits: `NF4` of Dettmers et al., QLoRA,
# 2023, https://arxiv.org/abs/2305.14314, section 3.
QUANT_TYPE = "nf4"
BLOCKSIZE = 64
# The scales are not quantized again: that takes the mean of a layer's scales, which in
# its last bit depends on the number of threads, and saves 0.05 bytes per weight.
DOUBLE_QUANT = False


def nf4_config(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return what Transformers loads a model in 4 bits by.

    Args:
        dtype: Dtype in which the layers compute.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=QUANT_TYPE,
        bnb_4bit_use_double_quant=DOUBLE_QUANT,
        bnb_4bit_compute_dtype=dtype,
        # Bytes, which DeepSpeed does not round when it rounds a model to its precision.
        bnb_4bit_quant_storage=torch.uint8,
    )


@contextmanager
def after_each_weight(call: Callable[[], None]) -> Iterator[None]:
    """Call something each time that Transformers has rounded a weight to 4 bits.

    Uses `convert` of Transformers' `Bnb4bitQuantize`, which rounds one weight. Without
    it a large model would show no sign of life while it is loaded.
    """
    from transformers.integrations.bitsandbytes import Bnb4bitQuantize

    rounding: Any = Bnb4bitQuantize
    convert = rounding.convert

    def convert_and_call(*arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        converted = convert(*arguments, **named)
        call()
        return converted

    rounding.convert = convert_and_call
    try:
        yield
    finally:
        rounding.convert = convert


def count_in_4bit(skeleton: PreTrainedModel) -> int:
    """Return how many weights of a model are held in 4 bits, if it is loaded so.

    Args:
        skeleton: The model, on the meta device; its layers are replaced.
    """
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import HfQuantizer

    in_fp32 = list(skeleton._keep_in_fp32_modules or [])
    kept = HfQuantizer.get_modules_to_not_convert(skeleton, None, in_fp32)
    replace_with_bnb_linear(skeleton, kept, nf4_config(skeleton.dtype))
    # Transformers notes on each layer that it makes what was there before.
    layers: list[Any] = [m for m in skeleton.modules() if hasattr(m, "source_cls")]
    return sum(layer.in_features * layer.out_features for layer in layers)


def layers_in_4bit(model: nn.Module) -> dict[str, Any]:
    """Return the layers whose weights are held in 4 bits, by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if getattr(module, "quant_state", None) is not None
    }


def has_transposed_layers(model: nn.Module) -> bool:
    """Return whether layers in 4 bits were Conv1D, whose weights are [in, out]."""
    layers = layers_in_4bit(model).values()
    return any(issubclass(layer.source_cls, Conv1D) for layer in layers)


def prepare_layers(model: nn.Module) -> None:
    """Have the layers in 4 bits compute alike in training and evaluation.

    On CPUs with AVX512-BF16 `forward` would pack the weights anew in evaluation, with
    scales rounded to bf16. A checkpoint of the model holds nothing of these layers: not
    their weights, which are frozen, and not the scales of these either.
    """
    for layer in layers_in_4bit(model).values():
        layer.support_avx512bf16_for_cpu = False
        layer.register_state_dict_post_hook(forget_scales)


def forget_scales(
    layer: nn.Module, state: dict[str, torch.Tensor], prefix: str, _: dict[str, Any]
) -> None:
    """Remove from a state dict what belongs to the 4 bits of a layer's weight."""
    for key in [key for key in state if key.startswith(f"{prefix}weight.")]:
        del state[key]


def weight_of(layer: Any) -> torch.Tensor:
    """Return the weight that a layer in 4 bits computes with, as the model names it.

    Returns:
        The weight in the dtype in which it was quantized, on its device: [out, in],
        of a layer that was a Conv1D [in, out].
    """
    weight = dequantize(layer.weight.data, layer.quant_state)
    return weight.T if issubclass(layer.source_cls, Conv1D) else weight


def weight_by_kernels(layer: Any) -> torch.Tensor:
    """Return the same as `weight_of`, but as bitsandbytes' kernels compute it."""
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(layer.weight.data, layer.quant_state)
    return weight.T if issubclass(layer.source_cls, Conv1D) else weight


def quantized_and_back(weight: torch.Tensor, is_transposed: bool) -> torch.Tensor:
    """Return what becomes of a weight that is held in 4 bits.

    Computed on the CPU, as `from_pretrained` does it where the model is loaded there:
    every operation is exact or rounded as IEEE 754 says, so that the result is the same
    on every machine.

    Args:
        weight: The weight, [out, in] or [in, out], in the dtype of the training.
        is_transposed: Whether it is [in, out].

    Returns:
        The weight in the same shape and dtype.
    """
    from bitsandbytes.functional import quantize_4bit

    rows = weight.T.contiguous() if is_transposed else weight
    codes, state = quantize_4bit(
        rows,
        blocksize=BLOCKSIZE,
        compress_statistics=DOUBLE_QUANT,
        quant_type=QUANT_TYPE,
    )
    back = dequantize(codes, state)
    return back.T if is_transposed else back


def dequantize(codes: torch.Tensor, state: Any) -> torch.Tensor:
    """Return the weight that 4-bit codes and their scales stand for.

    In plain operations, which are the same on every device: of a block of 64 weights
    each is a value of the table times the block's scale, in fp32, rounded once.

    Args:
        codes: Two codes a byte, the first in the upper bits, uint8.
        state: bitsandbytes' `QuantState` of the weight.

    Returns:
        The weight, [out, in], in the dtype in which it was quantized.
    """
    table = state.code
    pairs = torch.cartesian_prod(table, table)
    values = pairs[codes.flatten().int()].flatten()[: state.shape.numel()]
    rest = -len(values) % state.blocksize
    blocks = nn.functional.pad(values, (0, rest)).view(-1, state.blocksize)
    scaled = (blocks * state.absmax[:, None]).flatten()
    return scaled[: len(values)].view(state.shape).to(state.dtype)
