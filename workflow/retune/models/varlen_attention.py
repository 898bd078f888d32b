"""The attention implementation `varlen`: each packed document by itself.

On a GPU it is PyTorch's `varlen_attn`, which has flash attention's kernels, where these
can compute what a model asks for. Otherwise documents of about the same length go
through PyTorch's scaled dot product attention together, which needs no mask then.
"""

import math
from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import scaled_dot_product_attention, softmax
from transformers import AttentionInterface

from retune.errors import RetuneError
from retune.models.packed_documents import PackedDocuments

VARLEN = "varlen"
# What flash attention's kernels take.
FLASH_DTYPES = (torch.bfloat16, torch.float16)
FLASH_HEAD_SIZE = 256
AMPERE = (8, 0)
# Arguments that change nothing of the result. With any other, such as the sinks of
# GPT-OSS or the blocks of sparse attention, something else would be computed.
HARMLESS = {
    *("position_ids", "cache_position", "use_cache", "return_dict"),
    *("output_attentions", "output_hidden_states", "output_router_logits"),
}


def register_varlen() -> None:
    """Let Transformers load models with `attn_implementation="varlen"`."""
    AttentionInterface.register(VARLEN, varlen_attention)


@torch.compiler.disable
def varlen_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_documents: PackedDocuments | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention of packed documents, as Transformers' layers ask for it.

    Args:
        module: The attention layer.
        query: Queries, [sequences, heads, length, head size].
        key: Keys, [sequences, key heads, length, head size].
        value: Values, [sequences, key heads, length, size of a value].
        attention_mask: None: documents are kept apart without one.
        packed_documents: The documents of the micro-batch.
        dropout: Share of the attention weights that are dropped.
        scaling: Factor of the scores; None: 1 / sqrt(head size).
        sliding_window: Number of tokens that a token sees, itself included; None: all
            before it.
        softcap: Largest score, approached by tanh; None: no limit.
        is_causal: Whether a token sees none that follow it; False is refused.
        others: What else Transformers passes on.

    Returns:
        float [sequences, length, heads, size of a value], and no weights.

    Raises:
        RetuneError: If the layer needs something that is not computed here.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    asked = {name for name, value in others.items() if value is not None}
    is_known = asked <= HARMLESS
    if packed_documents is None or attention_mask is not None or not causal:
        is_known = False
    if not is_known or packed_documents is None:
        raise RetuneError(
            f"configure.attn_implementation: {VARLEN} cannot compute the attention of"
            f" this model ({type(module).__name__}); write sdpa or eager"
        )
    sequences, _, length, _ = query.shape
    scale = scaling or 1 / math.sqrt(query.shape[-1])
    window = sliding_window
    if window is not None and window >= packed_documents.longest:
        window = None
    query, key, value = (t.transpose(1, 2).flatten(0, 1) for t in (query, key, value))
    if softcap is None and not dropout and can_flash(query, key, value):
        output = flash(query, key, value, packed_documents, scale, window)
    else:
        parts = []
        for bucket in packed_documents.buckets:
            q, k, v = (of_bucket(tensor, bucket) for tensor in (query, key, value))
            made = attend(q, k, v, scale, window, softcap, dropout)
            parts.append(made.transpose(1, 2).flatten(0, 1))
        output = torch.cat(parts).index_select(0, packed_documents.places)
    return output.unflatten(0, (sequences, length)), None


def can_flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether flash attention's kernels take these, [tokens, heads, size].

    They need a GPU since Ampere.
    """
    return (
        query.is_cuda
        and torch.cuda.get_device_capability(query.device) >= AMPERE
        and fits_flash(query, key, value)
    )


def fits_flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether flash attention's kernels take these on a GPU that has them."""
    size = query.shape[-1]
    return (
        query.dtype in FLASH_DTYPES
        and size == value.shape[-1]
        and size <= FLASH_HEAD_SIZE
        and size % 8 == 0
    )


def flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: PackedDocuments,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """Return the attention by `varlen_attn`, [tokens, heads, size].

    All tensors are [tokens, heads, size]; `window` counts a token itself, which
    `varlen_attn` does not.
    """
    from torch.nn.attention.varlen import varlen_attn

    is_grouped = query.shape[1] != key.shape[1]
    sharing: dict[str, Any] = {}
    if is_grouped and is_asked_to_share(varlen_attn):
        sharing = {"enable_gqa": True}
    bounds, longest = documents.cumulative_sizes, documents.longest
    output = varlen_attn(
        query,
        key,
        value,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        **sharing,
    )
    # A tuple is returned where the log-sum-exp is asked for.
    assert isinstance(output, torch.Tensor)
    return output


@cache
def is_asked_to_share(varlen_attn: Callable[..., Any]) -> bool:
    """Return whether a version of `varlen_attn` shares heads only if asked to.

    Before PyTorch 2.12 its kernels shared heads without being asked.
    """
    return "enable_gqa" in signature(varlen_attn).parameters


def of_bucket(tensor: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the rows of a bucket, [documents, heads, length, size].

    Args:
        tensor: Rows of all tokens, [tokens, heads, size].
        tokens: Numbers of the rows, int64 [documents, length].
    """
    rows = tensor.index_select(0, tokens.flatten())
    return rows.unflatten(0, tokens.shape).transpose(1, 2)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
    dropout: float,
) -> torch.Tensor:
    """Return the causal attention of a bucket's documents, [documents, heads, ...].

    Keys and values that several heads share are repeated, because of the kernels only
    flash attention does without.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    if softcap is not None:
        return attend_capped(query, key, value, scale, window, softcap, dropout)
    band = None if window is None else visible(query, window)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=band,
        dropout_p=dropout,
        is_causal=band is None,
        scale=scale,
    )


def attend_capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    window: int | None,
    softcap: float,
    dropout: float,
) -> torch.Tensor:
    """Return it with scores up to `softcap`, as Gemma 2 has it; no kernel does this."""
    scores = (query @ key.transpose(2, 3)) * scale
    scores = softcap * torch.tanh(scores / softcap)
    hidden = ~visible(query, window)
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    weights = softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return dropped(weights, dropout) @ value


def visible(query: torch.Tensor, window: int | None) -> torch.Tensor:
    """Return which tokens a token sees, bool [length, length].

    Args:
        query: Queries, [documents, heads, length, head size].
        window: Number of tokens, the token itself included; None: all before it.
    """
    length = query.shape[2]
    ones = torch.ones(length, length, dtype=torch.bool, device=query.device)
    before = ones.tril()
    return before if window is None else before & ones.triu(1 - window)
