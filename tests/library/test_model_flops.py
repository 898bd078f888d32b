"""The FLOPs of models are those that torch counts."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig

from retune.measuring.model_flops import model_flops_per_token, multiplying_weights

LLAMA = LlamaConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
)
TIED = GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=3, n_head=4)


def build(config, device="cpu"):
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def flops(model, sequence_length):
    weights = multiplying_weights(model)
    return model_flops_per_token(model.config, *weights, sequence_length)


def counted(model, length=16):
    """Return what torch counts for the forward and backward pass, per token."""
    tokens = torch.zeros(2, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, use_cache=False).logits.sum().backward()
    return counter.get_total_flops() / tokens.numel()


@pytest.mark.parametrize("config", [TIED, LLAMA], ids=["tied", "grouped queries"])
def test_flops_are_those_of_all_multiplications(config):
    model = build(config)
    assert flops(model, 16) == pytest.approx(counted(model), rel=1e-3)


def test_frozen_weights_have_no_gradient():
    adapters = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(build(LLAMA), adapters)
    trained, frozen = multiplying_weights(model)
    assert frozen == sum(multiplying_weights(build(LLAMA)))
    assert trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    # The first layer's input needs no gradient, so that torch counts a little less.
    assert flops(model, 16) == pytest.approx(counted(model), rel=0.04)


def test_gpt2_as_its_paper_sizes_it():
    model = build(GPT2Config(), "meta")
    assert multiplying_weights(model) == (12 * 12 * 768**2 + 768 * 50257, 0)
    assert flops(model, 1024) == 6 * 123_532_032 + 12 * 12 * 768 * 1024


def test_a_mixture_of_experts_is_not_counted():
    config = MixtralConfig(num_experts_per_tok=2)
    assert model_flops_per_token(config, 1, 0, 16) is None
