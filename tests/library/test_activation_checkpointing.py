"""Activations that are computed again: the same gradients, in less memory."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXJapaneseConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from live_tensors import LiveTensors
from model_families import build_family
from plans import make_plan
from retune.errors import RetuneError
from retune.models.activation_checkpointing import checkpoint_activations

WAYS = {
    "none": {},
    "selective": {"activation_checkpointing": "selective"},
    "every second": {
        "activation_checkpointing": True,
        "activation_checkpointing_interval": 2,
    },
    "all": {"activation_checkpointing": True},
}
DROPOUT = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}
CASES = [
    *((family, "sdpa", {}) for family in ("gpt2", "llama", "qwen2", "mixtral")),
    *((family, "eager", {}) for family in ("llama", "gemma2")),
    *(("gpt2", kernels, DROPOUT) for kernels in ("sdpa", "eager")),
]


def train(model, **checkpointing):
    """Return the gradients of two packed documents, and the bytes kept for them."""
    checkpoint_activations(model, make_plan(**checkpointing))
    ids = torch.arange(5, 69)[None]
    positions = torch.cat([torch.arange(40), torch.arange(24)])[None]
    torch.manual_seed(0)
    with LiveTensors() as live:
        logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
        del logits
        kept = live.bytes
        loss.backward()
    return [p.grad for p in model.parameters() if p.grad is not None], kept


@pytest.mark.parametrize(("family", "kernels", "changed"), CASES)
def test_gradients_are_the_same_and_memory_is_in_between(
    tmp_path, family, kernels, changed
):
    number = "n_layer" if family == "gpt2" else "num_hidden_layers"
    folder = build_family(family, tmp_path, **{number: 4}, **changed)
    gradients, kept = {}, {}
    for way, checkpointing in WAYS.items():
        model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation=kernels
        )
        gradients[way], kept[way] = train(model.train(), **checkpointing)
    for way in WAYS:
        assert len(gradients[way]) == len(gradients["none"]) > 0
        for mine, plain in zip(gradients[way], gradients["none"], strict=True):
            assert torch.equal(mine, plain), way
    assert kept["all"] < kept["selective"] < kept["none"]
    assert kept["all"] < kept["every second"] < kept["none"]


def test_one_layer_of_so_many_is_checkpointed():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(GPT2Config(n_layer=7))
    checkpoint_activations(
        model,
        make_plan(activation_checkpointing=True, activation_checkpointing_interval=3),
    )
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert [layer.gradient_checkpointing for layer in layers] == [
        *(True, False, False, True, False, False, True)
    ]


@pytest.mark.parametrize(("way", "written"), [(True, "true"), ("selective",) * 2])
def test_a_family_that_cannot_is_named(way, written):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            GPTNeoXJapaneseConfig(num_hidden_layers=1)
        )
    told = f"^configure.activation_checkpointing: {written}, but gpt_neox_japanese"
    with pytest.raises(RetuneError, match=told):
        checkpoint_activations(model, make_plan(activation_checkpointing=way))
