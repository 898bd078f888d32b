"""Packed documents do not see each other, in every model family we name."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    Qwen3Config,
)

from retune.errors import RetuneError
from retune.models.isolation import check_isolation

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4),
    "llama": LlamaConfig(vocab_size=100, **SMALL, **HEADS),
    "qwen3": Qwen3Config(vocab_size=100, **SMALL, **HEADS),
}


OPT = OPTConfig(
    vocab_size=100,
    hidden_size=32,
    ffn_dim=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    word_embed_proj_dim=32,
)


class Engine(torch.nn.Module):
    """What the check needs of DeepSpeed's engine, around a real model."""

    device = torch.device("cpu")

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *arguments, **options):
        return self.module(*arguments, **options)


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        CONFIGS[request.param], attn_implementation="sdpa"
    ).eval()


@torch.no_grad()
def test_a_packed_document_gets_the_logits_it_gets_alone(model):
    first, second = torch.randint(0, 100, (2, 9)), torch.randint(0, 100, (2, 7))
    packed = torch.cat([first, second], dim=1)
    positions = torch.cat([torch.arange(9), torch.arange(7)]).expand(2, -1)
    together = model(packed, position_ids=positions, use_cache=False).logits[:, 9:]
    alone = model(second, use_cache=False).logits
    assert (together - alone).abs().max() < 1e-5


@torch.no_grad()
def test_without_the_restart_they_would_see_each_other(model):
    first, second = torch.randint(0, 100, (1, 9)), torch.randint(0, 100, (1, 7))
    packed = torch.cat([first, second], dim=1)
    together = model(packed, use_cache=False).logits[:, 9:]
    alone = model(second, use_cache=False).logits
    assert (together - alone).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("config", "isolates"), [(CONFIGS["gpt2"], True), (OPT, False)], ids=["gpt2", "opt"]
)
def test_training_refuses_a_family_that_ignores_the_restart(config, isolates):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    engine = Engine(model)
    if isolates:
        check_isolation(engine)
    else:
        with pytest.raises(RetuneError, match="opt models let packed documents see"):
            check_isolation(engine)
