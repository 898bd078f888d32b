"""The attention `varlen` computes each packed document as the model's own does."""

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AutoModelForCausalLM, MistralConfig

from model_families import FAMILIES, build_family
from retune.errors import RetuneError
from retune.models.find_model_facts import find_model_facts
from retune.models.packed_documents import PackedDocuments, padded_lengths
from retune.models.packed_inputs import packed_inputs
from retune.models.packing_check import build_small, varlen_is_exact
from retune.models.varlen_attention import (
    VARLEN,
    attend,
    register_varlen,
    varlen_attention,
)

CPU = torch.device("cpu")
# Of two sequences of 64 tokens; Gemma's and Mistral's windows are 16 tokens.
SIZES = ([3, 1, 40, 20], [64])
POSITIONS = np.stack([np.concatenate([np.arange(n) for n in row]) for row in SIZES])


def outcome(folder, kernels):
    """Return the logits and the gradients of a model on packed documents."""
    register_varlen()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=kernels
    )
    tokens = np.random.default_rng(0).integers(1, 300, POSITIONS.shape)
    inputs = packed_inputs(model.config, tokens, POSITIONS, CPU)
    logits = model(**inputs).logits
    logits.sin().sum().backward()
    gradients = {
        name: weight.grad
        for name, weight in model.named_parameters()
        # Experts that no token chose have none.
        if weight.grad is not None
    }
    return logits.detach(), gradients


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_models_own_attention(family, tmp_path):
    folder = build_family(family, tmp_path)
    assert find_model_facts(folder).has_varlen
    (logits, gradients), (own_logits, own_gradients) = (
        outcome(folder, kernels) for kernels in (VARLEN, "eager")
    )
    torch.testing.assert_close(logits, own_logits, rtol=1e-4, atol=1e-4)
    assert gradients.keys() == own_gradients.keys()
    for name, gradient in gradients.items():
        own = own_gradients[name]
        assert (gradient - own).norm() <= 1e-4 * own.norm() + 1e-6, name


def test_documents_of_about_the_same_length_share_a_bucket():
    documents = PackedDocuments.of(POSITIONS, CPU)
    assert documents.sizes.tolist() == [3, 1, 40, 20, 64]
    assert documents.longest == 64
    assert documents.cumulative_sizes.tolist() == [0, 3, 4, 44, 64, 128]
    assert documents.cumulative_sizes.dtype == torch.int32
    shapes = [tuple(bucket.shape) for bucket in documents.buckets]
    assert shapes == [(2, 16), (1, 32), (1, 48), (1, 64)]
    joined = torch.cat([bucket.flatten() for bucket in documents.buckets])
    assert joined[documents.places].tolist() == list(range(128))


def test_a_sequence_begins_a_document_whatever_its_positions():
    documents = PackedDocuments.of(np.array([[0, 1, 2], [3, 4, 0]]), CPU)
    assert documents.starts.tolist() == [0, 3, 5]


def test_padding_is_below_16_tokens_or_a_quarter():
    sizes = np.arange(1, 5000)
    lengths = padded_lengths(sizes)
    assert (lengths >= sizes).all()
    assert (lengths % 16 == 0).all()
    assert (lengths - sizes < np.maximum(16, sizes / 4)).all()
    assert len(np.unique(lengths)) < 35
    assert padded_lengths(2 ** np.arange(4, 16)).tolist() == [
        2**n for n in range(4, 16)
    ]


def test_it_drops_attention_weights():
    query = torch.randn(2, 1, 16, 8)
    torch.manual_seed(0)
    dropped = attend(query, query, query, 1.0, None, None, dropout=0.5)
    torch.manual_seed(0)
    again = attend(query, query, query, 1.0, None, None, dropout=0.5)
    whole = attend(query, query, query, 1.0, None, None, dropout=0.0)
    assert torch.equal(dropped, again)
    assert not torch.allclose(dropped, whole)


@pytest.mark.parametrize(
    "asked",
    [
        {"s_aux": torch.ones(4)},
        {"position_bias": torch.ones(4)},
        {"block_indices": torch.ones(4)},
        {"is_causal": False},
        {"packed_documents": None},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_it_refuses_what_it_does_not_compute(asked):
    query = torch.randn(2, 4, 64, 8)
    documents = PackedDocuments.of(POSITIONS, CPU)
    options = {"packed_documents": documents} | asked
    with pytest.raises(RetuneError, match="varlen cannot compute .*; write sdpa"):
        varlen_attention(torch.nn.Identity(), query, query, query, None, **options)


def test_a_wide_model_is_looked_at_with_fewer_heads():
    wide = MistralConfig(
        hidden_size=16384,
        intermediate_size=53248,
        num_hidden_layers=126,
        num_attention_heads=128,
        num_key_value_heads=8,
        sliding_window=None,
    )
    small = build_small(wide).config
    assert (small.hidden_size, small.num_attention_heads) == (4096, 32)
    assert small.num_key_value_heads == 2
    assert varlen_is_exact(wide)


@pytest.fixture
def restored():
    """Have `varlen` compute after a test what it did before."""
    yield
    register_varlen()


@pytest.mark.parametrize("ignored", ["sliding_window", "packed_documents"])
def test_kernels_that_compute_something_else_are_found(ignored, monkeypatch, restored):
    config = MistralConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    assert varlen_is_exact(config)

    def otherwise(*arguments, **options):
        if ignored == "packed_documents":
            one = PackedDocuments.of(np.arange(24).reshape(2, 12), CPU)
            return varlen_attention(*arguments, **options | {ignored: one})
        return varlen_attention(*arguments, **options | {ignored: None})

    monkeypatch.setattr(
        "retune.models.packing_check.register_varlen",
        lambda: AttentionInterface.register(VARLEN, otherwise),
    )
    assert not varlen_is_exact(config)
