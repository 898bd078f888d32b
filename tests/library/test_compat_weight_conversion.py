"""Each stored tensor is the weight that Transformers makes of it, and comes back.

These use private parts of Transformers, of every kind: tensors that are stacked,
renamed, or both.
"""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from model_families import EXPERTS, GROUPED, write_tokenizer
from retune.models.base_weights import BaseWeights
from retune.models.weight_names import named_weights
from retune.settings import ModelSettings
from retune.steps import fetch

ROUTED = {**EXPERTS, "head_dim": 8, "n_routed_experts": 4, "n_shared_experts": 1}
# Family -> values of its config.
FAMILIES = {
    "olmoe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {
        **{**EXPERTS, "num_experts": 4},
        "shared_expert_intermediate_size": 24,
    },
    "granitemoe": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "glm4_moe": {**ROUTED, "first_k_dense_replace": 1},
    "dots1": {**ROUTED, "first_k_dense_replace": 1},
    "phimoe": {**GROUPED, "num_local_experts": 4},
    "minimax_m2": {**GROUPED, "num_local_experts": 4, "head_dim": 8},
    "ernie4_5_moe": {
        **{**GROUPED, "head_dim": 8, "moe_num_experts": 4, "moe_k": 2},
        **{"moe_intermediate_size": 24, "moe_num_shared_experts": 1},
        "moe_layer_start_index": 1,
    },
    "gemma3": {"text_config": {**GROUPED, "head_dim": 8}},
    "cohere": GROUPED,
    "starcoder2": GROUPED,
}
FAMILIES["gemma3"]["vision_config"] = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_read_as_transformers_does_and_come_back(family, tmp_path):
    config = AutoConfig.for_model(family, **FAMILIES[family])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    with torch.no_grad():
        for _, weight in named_weights(model):
            if weight.is_floating_point():
                weight += 0.05 * torch.randn_like(weight)
    model.save_pretrained(tmp_path / "source")
    write_tokenizer(tmp_path / "source")
    base = tmp_path / "base"
    settings = ModelSettings(source="local", folder=str(tmp_path / "source"))
    fetch.run(settings, base)

    stored = load_file(base / "model.safetensors")
    wanted = dict(named_weights(AutoModelForCausalLM.from_pretrained(base)))
    weights = BaseWeights(base)
    assert weights.groups.keys() == wanted.keys()
    seen = []
    # Backwards, and each with a new reader: no group depends on another.
    for group in reversed(weights.facts.weights):
        read = BaseWeights(base).read_group(group)
        for name, tensor in read.items():
            assert torch.equal(tensor, wanted[name].to(tensor.dtype)), name
        back = BaseWeights(base).as_stored(group, read)
        assert back.keys() == set(group.stored)
        for name, tensor in back.items():
            assert torch.equal(tensor, stored[name]), name
        seen += group.stored
    assert sorted(seen) == sorted(stored)
