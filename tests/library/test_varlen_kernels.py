"""What is asked of PyTorch's `varlen_attn`, whose signature differs between versions.

Its kernels need a GPU: tests/gpu compares what they compute. Here stands in their place
a function of the same signature that computes each document by plain operations.
"""

import inspect

import pytest
import torch
from torch.nn.attention import varlen

from retune.models.packed_documents import PackedDocuments
from retune.models.varlen_attention import attend, flash

HEADS, SHARED, SIZE = 4, 2, 8
POSITIONS = torch.cat([torch.arange(n) for n in (5, 1, 10)])[None]


def by_document(query, key, value, bounds, scale, window):
    """Return the causal attention of each document by itself."""
    seen = None if window[0] < 0 else window[0] + 1
    parts = []
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        q, k, v = (t[start:end].transpose(0, 1)[None] for t in (query, key, value))
        parts.append(attend(q, k, v, scale, seen, None, 0.0)[0].transpose(0, 1))
    return torch.cat(parts)


def of_2_11(
    query,
    key,
    value,
    cu_seq_q,
    cu_seq_k,
    max_q,
    max_k,
    *,
    return_aux=None,
    scale=None,
    window_size=(-1, -1),
):
    assert window_size[1] == 0
    assert max_q == max_k == 10
    return by_document(query, key, value, cu_seq_q, scale, window_size)


def of_2_13(*arguments, enable_gqa=False, **options):
    query, key = arguments[:2]
    assert enable_gqa == (query.shape[1] != key.shape[1])
    return of_2_11(*arguments, **options)


def test_the_signature_of_the_installed_version():
    names = inspect.signature(varlen.varlen_attn).parameters
    assert {"scale", "window_size", "enable_gqa"} <= names.keys()


@pytest.mark.parametrize("function", [of_2_11, of_2_13])
@pytest.mark.parametrize("key_heads", [HEADS, SHARED])
@pytest.mark.parametrize("window", [None, 3])
def test_each_document_by_itself(monkeypatch, function, key_heads, window):
    monkeypatch.setattr(varlen, "varlen_attn", function)
    torch.manual_seed(0)
    query = torch.randn(16, HEADS, SIZE)
    key, value = torch.randn(2, 16, key_heads, SIZE)
    documents = PackedDocuments.of(POSITIONS, torch.device("cpu"))
    output = flash(query, key, value, documents, 0.3, window)
    bounds = documents.cumulative_sizes
    shown = by_document(query, key, value, bounds, 0.3, ((window or 0) - 1, 0))
    torch.testing.assert_close(output, shown)
