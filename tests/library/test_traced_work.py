"""What a traced step computes and moves: FLOPs as they are counted from the shapes."""

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from compat_contract import contract
from plans import make_plan
from retune.compat.pytorch_operations import OperationCounter
from retune.engines.activation_trace import trace_activations
from retune.measuring.model_flops import model_flops_per_token, multiplying_weights
from retune.models.shape_facts import find_shape_facts
from retune.models.training_skeleton import build_training_skeleton
from retune.settings import LoraSettings

LENGTH = 256
ON_A_GPU = {
    **{"accelerator": "cuda", "precision": "bf16", "sequence_length": LENGTH},
    **{"attn_implementation": "varlen", "chunked_cross_entropy": True},
}
CONFIGS = {
    "llama": LlamaConfig(
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=4096,
    ),
    "gpt2": GPT2Config(n_embd=512, n_layer=6, n_head=8, vocab_size=4096),
}


def work_of(folder, config, size=2, lora=None, **changes):
    """Return the skeleton of a model, and the work of a micro-batch on a GPU."""
    config.save_pretrained(folder)
    skeleton = build_training_skeleton(folder, find_shape_facts(folder), lora)
    plan = make_plan(**ON_A_GPU | changes)
    return skeleton, trace_activations(skeleton, plan, [size]).of(size).work


@pytest.mark.parametrize("lora", [None, LoraSettings(r=4)], ids=["whole", "LoRA"])
@pytest.mark.parametrize("family", CONFIGS)
def test_products_are_those_of_the_shapes(tmp_path, family, lora):
    config = CONFIGS[family]
    skeleton, work = work_of(tmp_path, config, lora=lora)
    weights = multiplying_weights(skeleton.model)
    wanted = model_flops_per_token(config, *weights, LENGTH)
    # The backward pass of attention computes scores again.
    assert work.products / (2 * LENGTH) == pytest.approx(wanted, rel=0.06)


def test_twice_as_many_sequences_are_twice_the_work(tmp_path):
    (_, one), (_, two) = (
        work_of(tmp_path, CONFIGS["llama"], size, chunked_cross_entropy=False)
        for size in (2, 4)
    )
    assert two.products == pytest.approx(2 * one.products, rel=1e-6)
    # Weights are read as often, and their gradients added as often.
    assert 1.5 * one.moved < two.moved <= 2 * one.moved
    assert two.operations == one.operations


def test_checkpointing_computes_the_layers_again(tmp_path):
    (_, kept), (_, selective), (_, again) = (
        work_of(tmp_path, CONFIGS["llama"], activation_checkpointing=way)
        for way in (False, "selective", True)
    )
    assert selective.products == pytest.approx(kept.products, rel=0.01)
    assert kept.moved < selective.moved
    # A third of what the layers compute, but not of the head's.
    assert 1.2 < again.products / kept.products < 4 / 3


def test_operators_by_hand():
    counter = OperationCounter()
    ops = torch.ops.aten
    left, right = torch.ones(4, 8), torch.ones(8, 16)
    with contract("pytorch_operations"):
        counter.count(ops.mm.default, (left, right), left @ right)
        assert (counter.products, counter.moved) == (2 * 4 * 8 * 16, 0)
        counter.count(ops.add.Tensor, (left, left), left + left)
        assert counter.moved == 3 * left.nbytes
        counter.count(ops.add_.Tensor, (left, 1.0), left)
        assert counter.moved == (3 + 2) * left.nbytes
        # Neither a view nor memory that nobody has written is work.
        counter.count(ops.t.default, (left,), left.t())
        counter.count(ops.empty_like.default, (left,), torch.empty_like(left))
        assert counter.operations == 3
