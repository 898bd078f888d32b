"""What attention kernels take on a GPU beside what they are given and return.

Uses the names of two operators of PyTorch, `_varlen_attn_backward` and
`_scaled_dot_product_flash_attention_for_cpu_backward`, by which fake tensors on the CPU
go through attention's backward pass, and the order of their arguments. Without it, that
pass would be predicted to take less than it does.

The sizes are those of flash attention 2, which PyTorch has for Ampere and later GPUs:
`mha_bwd` and `mha_varlen_bwd` of aten/src/ATen/native/transformers/cuda/flash_attn/
flash_api.cpp. Flash attention 3 has to be asked for. What else scaled dot product
attention may choose, cuDNN's kernels or the memory-efficient ones, is taken to need as
much. None of it was measured by itself: with `varlen` backward passes on an H200 take
in all what is predicted (benchmarks/gpu.md), but most of it elsewhere in a layer.
"""

import math
from typing import Any

import torch

VARLEN_BACKWARD = "_varlen_attn_backward"
BACKWARD = "_scaled_dot_product_flash_attention_for_cpu_backward"
HALF = (torch.bfloat16, torch.float16)
FP32_BYTES = 4
# Rows that a block of queries has at most.
BLOCK = 128


def attention_scratch(func: Any, arguments: tuple[Any, ...]) -> int:
    """Return the bytes that an operator's kernel takes while it runs.

    The gradients of queries are added up in fp32, and each row of them needs a number
    more; lengths are rounded up to whole blocks. Gradients of keys and values that
    several heads share are computed for each head first.

    Args:
        func: The operator, such as `torch.ops.aten.mm.default`.
        arguments: Its positional arguments.

    Returns:
        0 for all that is not the backward pass of attention.
    """
    name = getattr(func, "_opname", "")
    if name == VARLEN_BACKWARD:
        # [tokens, heads, size]
        _, query, key, *_ = arguments
        documents = len(arguments[6]) - 1
        rows, heads, size = query.shape
        rows += BLOCK * documents
        key_rows, key_heads = key.shape[:2]
    elif name == BACKWARD:
        # [sequences, heads, length, size]
        _, query, key, *_ = arguments
        sequences, heads, length, size = query.shape
        rows = sequences * rounded(length, BLOCK)
        key_rows, key_heads = sequences * key.shape[2], key.shape[1]
    else:
        return 0
    numbers = rows * heads * FP32_BYTES
    if query.dtype not in HALF:
        # Kernels in fp32 add up where the result will be.
        return numbers
    queries = numbers * rounded(size, 32 if size <= 128 else 64)
    width = query.element_size()
    shared = 2 * key_rows * heads * size * width if heads != key_heads else 0
    return numbers + queries + shared


def rounded(number: int, multiple: int) -> int:
    """Return the least multiple that is not less than a number."""
    return math.ceil(number / multiple) * multiple
