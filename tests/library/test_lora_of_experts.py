"""Of a mixture of experts, what has a name of its own gets adapters, and no expert."""

import pytest
from transformers import AutoModelForCausalLM

from model_families import build_family
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.models.adapters import add_adapters
from retune.settings import LoraSettings, ModelSettings
from retune.steps import fetch


def adapt(folder, family, targets):
    """Return the ends of the names of the layers that have adapters."""
    source = build_family(family, folder / "source")
    base = folder / "base"
    fetch.run(ModelSettings(source="local", folder=str(source)), base)
    model = AutoModelForCausalLM.from_pretrained(base)
    lora = LoraSettings(target_modules=targets)
    adapted = add_adapters(model, ModelFacts.read(base), lora)
    names = [name for name, _ in adapted.named_modules() if name.endswith(".lora_A")]
    return {name.split(".")[-2] for name in names}


@pytest.mark.parametrize(
    ("family", "targets", "adapted"),
    [
        ("mixtral", "all-linear", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("mixtral", ["q_proj", "self_attn.v_proj"], {"q_proj", "v_proj"}),
        ("qwen3_moe", "all-linear", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("deepseek_v3", ["o_proj"], {"o_proj"}),
    ],
)
def test_attention_gets_adapters(tmp_path, family, targets, adapted):
    assert adapt(tmp_path, family, targets) == adapted


@pytest.mark.parametrize(
    ("targets", "named"),
    [(["w1"], "w1"), (["q_proj", "nonsense"], "nonsense"), (["lm_head"], "lm_head")],
)
def test_what_can_have_no_adapters_is_named(tmp_path, targets, named):
    message = (
        f"finetune.lora.target_modules: {named} of this mixtral model can have no"
        r" adapters \(neither experts nor the output head can\); there are: k_proj,"
    )
    with pytest.raises(RetuneError, match=message):
        adapt(tmp_path, "mixtral", targets)
