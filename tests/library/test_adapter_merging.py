"""Adapters merge into the model that was trained, also below fp32."""

from functools import partial

import pytest
import torch
from transformers import AutoModelForCausalLM

from model_families import build_family
from retune.artifacts.model_facts import ModelFacts
from retune.compat.peft_names import adapted_layer, is_adapter, published_name
from retune.models.adapter_merging import merge_adapters
from retune.models.adapters import add_adapters
from retune.models.find_model_facts import find_model_facts
from retune.models.weight_names import named_weights
from retune.settings import LoraSettings

BELOW_FP32 = [torch.bfloat16, torch.float16]
# GPT-2's layers are Conv1D, which hold their weights transposed.
FAMILIES = ["gpt2", "llama"]


@pytest.fixture(scope="module", params=FAMILIES)
def bases(request, tmp_path_factory):
    """A family's name, and dtype -> base model that is stored in it."""
    folder = tmp_path_factory.mktemp("bases")
    models = {
        dtype: build_family(request.param, folder / str(dtype), dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    for base in models.values():
        find_model_facts(base).write(base)
    return request.param, models


def adapted_model(base, trained, **lora):
    """Return a model with new adapters, and its base weights before that."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=trained)
    start = {name: weight.detach().clone() for name, weight in named_weights(model)}
    torch.manual_seed(0)
    settings = LoraSettings(r=4, lora_alpha=8.0, **lora)
    return add_adapters(model, ModelFacts.read(base), settings), start


def merged_weights(model):
    """Return the weights that have adapters, merged as `consolidate` does."""
    tensors = {
        published_name(name): partial(weight.detach)
        for name, weight in named_weights(model)
    }
    merged = merge_adapters(model.peft_config["default"].to_dict(), tensors)
    assert len(merged) == len({adapted_layer(n) for n in filter(is_adapter, tensors)})
    return {name: compute() for name, compute in merged.items()}


@pytest.mark.parametrize("use_dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("trained", BELOW_FP32, ids=str)
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_an_untrained_adapter_leaves_the_weights_as_they_are(
    bases, stored, trained, use_dora
):
    model, start = adapted_model(bases[1][stored], trained, use_dora=use_dora)
    for name, weight in merged_weights(model).items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, start[name].float()), name


@pytest.mark.parametrize("trained", [torch.float32, *BELOW_FP32], ids=str)
@torch.no_grad()
def test_every_row_has_the_trained_scale(bases, trained):
    family, models = bases
    model, _ = adapted_model(models[torch.float32], trained, use_dora=True)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim == 1:
            parameter *= 1 + 0.1 * torch.randn_like(parameter)
        elif parameter.requires_grad:
            parameter.normal_(std=0.1)
    modules = dict(model.base_model.model.named_modules())
    for name, weight in merged_weights(model).items():
        layer = modules[name.removesuffix(".weight")]
        rows = weight.T if family == "gpt2" else weight
        inputs = torch.randn(4096, rows.shape[1]).to(trained)
        live = layer.eval()(inputs).float()
        if layer.base_layer.bias is not None:
            live -= layer.base_layer.bias.float()
        ours = inputs.float() @ rows.T
        # The rounding of single outputs averages out; what is left is the row's own.
        scale = (live * ours).sum(0) / ours.square().sum(0)
        assert (scale - 1).abs().max() < torch.finfo(trained).eps / 10 + 1e-6, name
