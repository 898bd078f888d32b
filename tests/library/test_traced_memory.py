"""Private names that memory is traced by do what they did; parts that no rank shows."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from compat_contract import contract
from retune.artifacts.model_facts import OutputHead
from retune.compat.deepspeed_loss import traced_cross_entropy_sum
from retune.compat.pytorch_attention_scratch import attention_scratch
from retune.compat.pytorch_fake_tensors import fake_tensors, make_fake
from retune.compat.pytorch_live_storages import LiveStorages
from retune.compat.transformers_layers import keep_layers, kinds_of_layers
from retune.engines.activation_trace import layers_to_follow, places_of, whole_pass
from retune.engines.chunked_loss import chunked_loss_sum
from retune.engines.traced_kernels import kernels_of
from retune.engines.traced_step import Part
from retune.models.traced_liger import RMSNorm, Rotary, SwiGLU


def test_storages_are_counted_as_long_as_they_live():
    with contract("pytorch_live_storages"), LiveStorages() as live:
        known = torch.zeros(10)
        live.ignore(known)
        live.bytes = 0
        first = known + 1
        view = first[2:]
        other = torch.zeros(100)
        assert live.bytes == 40 + 400
        live.hold(1000)
        del other, first
        assert (live.bytes, live.peak_with_held) == (40, 1440)
        live.restart()
        assert (live.peak, live.peak_with_held) == (40, 1040)
        del view
        assert live.bytes == 0


def kept_by(model):
    """Return the bytes that a model keeps for the gradient of seven rows."""
    live = LiveStorages()
    for parameter in model.parameters():
        live.ignore(parameter)
    with live:
        made = model(torch.ones(7, 5)).relu()
        assert made.requires_grad
        return live.bytes


def test_fake_tensors_are_counted_like_real_ones():
    with contract("pytorch_fake_tensors"):
        real = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 5))
        fake = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 5)).to("meta")
        with fake_tensors():
            make_fake(fake)
            kept = kept_by(fake)
        assert kept == kept_by(real) > 0
        tied = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5)).to("meta")
        tied[1].weight = tied[0].weight
        with fake_tensors():
            make_fake(tied)
        assert tied[1].weight is tied[0].weight


def test_layers_can_be_taken_out_of_a_model():
    with contract("transformers_layers"):
        sizes = {"vocab_size": 30, "hidden_size": 8, "intermediate_size": 8}
        config = LlamaConfig(
            **sizes, num_hidden_layers=5, num_attention_heads=2, pad_token_id=None
        )
        model = LlamaForCausalLM(config)
        kinds = kinds_of_layers(model)
        assert len(kinds) == 5
        assert len(set(kinds)) == 1
        keep_layers(model, [0, 1, 4])
        assert len(kinds_of_layers(model)) == 3
        ids = torch.zeros(1, 3, dtype=torch.int64)
        assert model(input_ids=ids, use_cache=False).logits.shape == (1, 3, 30)


def test_the_loss_on_a_gpu_keeps_what_is_traced():
    from deepspeed.runtime.chunked_cross_entropy import _TritonCrossEntropy

    with contract("deepspeed_loss"):
        forward = inspect.getsource(_TritonCrossEntropy.forward)
        assert "ctx.save_for_backward(logits, target, log_sum_exp)" in forward
        backward = inspect.getsource(_TritonCrossEntropy.backward)
        assert "torch.empty_like(logits)" in backward
    logits = torch.zeros(4, 9, dtype=torch.bfloat16, requires_grad=True)
    traced_cross_entropy_sum(logits, torch.zeros(4, dtype=torch.int64)).backward()
    assert logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("kinds", "kept", "places"),
    [
        ("a", [0], [0]),
        ("aa", [0, 1], [0, 1]),
        ("aaaaa", [0, 1, 4], [0, 1, 1, 1, 2]),
        ("ababab", [0, 1, 2, 3, 5], [0, 1, 2, 3, 2, 4]),
        ("abbbb", [0, 1, 2, 4], [0, 1, 2, 2, 3]),
    ],
)
def test_layers_that_are_not_followed_are_like_the_second_of_their_kind(
    kinds, kept, places
):
    assert layers_to_follow(list(kinds)) == kept
    assert places_of(list(kinds), kept) == places


def test_layers_that_are_not_followed_add_what_they_keep():
    layer = Part(10, 17, 13, 0, 17, 0)
    begin, end = Part(0, 12, 10, 0, 12, 0), Part(13, 20, 14, 0, 20, 0)
    moments = whole_pass([begin, layer, end], [0, 0, 0])
    assert [m.without_gradients for m in moments] == [12, 17, 20, 23, 26]
    assert moments[-1].logits == 7
    # Backward: two parts of the head; each layer frees 3 and leaves a gradient of 4.
    first = [Part(14, 20, 14, 0, 20, 0), Part(14, 15, 13, 0, 15, 0)]
    back = [Part(13, 18, 10, 0, 22, 4), Part(10, 11, 0, 4, 15, 4)]
    moments = whole_pass([*first, *back], [0, 0, 0], is_backward=True)
    assert [m.without_gradients for m in moments] == [26, 21, 24, 21, 18, 11]
    assert [m.gradients for m in moments] == [0, 0, 0, 4, 8, 12]
    assert moments[3].with_gradients == 21 + 4 + 4


def test_with_a_gpus_kernels_dropout_keeps_a_byte_for_each_value():
    dropout = nn.Dropout(0.1)
    values = torch.ones(8, 8, requires_grad=True)

    def kept():
        with LiveStorages() as live:
            made = dropout(values)
            assert made.requires_grad
            return live.bytes

    on_cpu = kept()
    with kernels_of("cuda"):
        assert kept() == 64 * 4 + 64
    assert kept() == on_cpu


def test_with_a_gpus_kernels_the_output_head_has_more_words():
    def peak(words):
        weight = torch.ones(words, 8, requires_grad=True)
        hidden = torch.ones(10, 8)
        with LiveStorages() as live:
            for tensor in (weight, hidden):
                live.ignore(tensor)
            labels = torch.zeros(10, dtype=torch.int64)
            chunked_loss_sum(hidden, weight, None, labels, OutputHead()).backward()
            return live.peak

    on_cpu = peak(65)
    with kernels_of("cuda"):
        padded, whole = peak(65), peak(128)
    # A padded copy of the weight, and logits and gradients of as many words.
    assert padded > whole
    assert peak(65) == on_cpu != padded


def test_ligers_kernels_keep_little():
    hidden = torch.ones(2, 3, 8, requires_grad=True)
    with LiveStorages() as live:
        live.ignore(hidden)
        normalized = RMSNorm.apply(hidden, nn.Parameter(torch.ones(8)))
        inner = SwiGLU.apply(normalized, normalized)
        heads = inner.view(2, 3, 2, 4).transpose(1, 2)
        query, key = Rotary.apply(heads, heads, hidden, hidden)
        # The weight, a number for each row, and two outputs.
        assert live.bytes == 8 * 4 + 6 * 4 + 2 * 48 * 4
    (query.sum() + key.sum()).backward()
    assert hidden.grad.shape == hidden.shape


ROWS, HEADS, SIZE = 2 * 100, 4, 40


def differentiate(kernel, dtype, key_heads, live):
    """Compute attention of two documents of 100 tokens, and its gradients.

    Args:
        kernel: `varlen`, or `sdpa`.
        dtype: Of queries, keys and values.
        key_heads: Heads that keys and values have.
        live: What counts the tensors.
    """
    from torch.nn.attention.varlen import varlen_attn

    shared = {"enable_gqa": True} if key_heads < HEADS else {}
    with fake_tensors(), live:
        query, key, value = (
            torch.ones(
                (ROWS, heads, SIZE) if kernel == "varlen" else (2, heads, 100, SIZE),
                dtype=dtype,
                requires_grad=True,
            )
            for heads in (HEADS, key_heads, key_heads)
        )
        if kernel == "varlen":
            bounds = torch.zeros(3, dtype=torch.int32)
            made = varlen_attn(query, key, value, bounds, bounds, 100, 100, **shared)
        else:
            made = scaled_dot_product_attention(
                query, key, value, is_causal=True, **shared
            )
        made.backward(torch.ones_like(made))


# Of each document up to 128 rows more in one array; else lengths are rounded up to 128.
# The size, 40, is rounded up to 64, and there is a number more in each row.
@pytest.mark.parametrize(
    ("kernel", "dtype", "key_heads", "in_fp32"),
    [
        ("varlen", torch.bfloat16, 4, (ROWS + 2 * 128) * HEADS * 65),
        ("varlen", torch.bfloat16, 2, (ROWS + 2 * 128) * HEADS * 65),
        ("sdpa", torch.float16, 4, 2 * 128 * HEADS * 65),
        ("sdpa", torch.float32, 4, 2 * 128 * HEADS),
    ],
)
def test_the_backward_pass_of_attention_takes_scratch_on_a_gpu(
    kernel, dtype, key_heads, in_fp32
):
    taken = []

    def scratch(*call):
        taken.append(attention_scratch(*call))
        return taken[-1]

    with contract("pytorch_attention_scratch"):
        differentiate(kernel, dtype, key_heads, LiveStorages(scratch))
        expanded = 2 * ROWS * HEADS * SIZE * 2 if key_heads < HEADS else 0
        assert [size for size in taken if size] == [4 * in_fp32 + expanded]


def test_scratch_is_there_for_a_moment():
    live, other = LiveStorages(), LiveStorages(attention_scratch)
    for each in (live, other):
        differentiate("varlen", torch.bfloat16, 4, each)
    assert other.bytes == live.bytes
    assert other.peak > live.peak
    assert other.peak_with_held == other.peak
