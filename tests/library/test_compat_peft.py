"""What we use of peft's names is what a wrapped model and its files have."""

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM, LlamaConfig

from compat_contract import contract
from retune.compat.peft_names import adapted_layer, is_adapter, published_name
from retune.models.weight_names import named_weights

SHAPE = {
    **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48},
    **{"num_hidden_layers": 2, "num_attention_heads": 4},
}


def test_published_names_are_those_of_the_bare_model_and_of_peft_s_file(tmp_path):
    with contract("peft_names"):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE))
        bare = [name for name, _ in named_weights(model)]
        lora = LoraConfig(
            task_type="CAUSAL_LM", target_modules=["q_proj", "up_proj"], use_dora=True
        )
        wrapped = get_peft_model(model, lora)
        wrapped.save_pretrained(tmp_path)
        with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
            stored = set(file.keys())
        names = [published_name(name) for name, _ in named_weights(wrapped)]
        assert sorted(name for name in names if not is_adapter(name)) == sorted(bare)
        assert {name for name in names if is_adapter(name)} == stored
        layers = {adapted_layer(name) for name in stored}
        assert {f"{layer}.weight" for layer in layers} < set(bare)
        assert len(layers) == 4
        assert not any(map(adapted_layer, bare))
