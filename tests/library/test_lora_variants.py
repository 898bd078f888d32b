"""LoRA, rsLoRA and DoRA at every ZeRO stage train as peft does in plain PyTorch."""

import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig

from plain_adapters import train_plainly
from plans import read_page
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Plan
from retune.errors import RetuneError
from retune.models.adapters import add_adapters
from retune.models.four_bit_weights import num_parameters_in_4bit
from retune.models.skeleton import build_skeleton
from retune.models.training_skeleton import build_training_skeleton
from retune.settings import (
    ConfigureSettings,
    ConsolidateSettings,
    HardwareSettings,
    LoraSettings,
    TrainedWeightsSettings,
)
from retune.steps import configure, consolidate
from tiny_facts import tiny_facts
from tiny_run import TinyRun
from training_ranks import Job, train_all

STEPS = 3
RATE = 1e-2
SETTINGS = {
    **{"max_steps": STEPS, "learning_rate": RATE, "lr_scheduler_type": "constant"},
    **{"warmup_steps": 0, "eval_steps": STEPS, "save_steps": STEPS},
}
LORA = {"r": 4, "lora_alpha": 8.0, "target_modules": ["c_attn", "c_proj", "c_fc"]}
VARIANTS = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "both": {"use_rslora": True, "use_dora": True},
}
STRATEGIES = {
    **{f"ZeRO-{stage}": {"zero_stage": stage} for stage in range(4)},
    "checkpointing": {"zero_stage": 3, "activation_checkpointing": True},
    "bf16, ZeRO-2": {"zero_stage": 2, "precision": "bf16"},
    "bf16, ZeRO-3": {"zero_stage": 3, "precision": "bf16"},
}
BF16 = [name for name in STRATEGIES if "bf16" in name]
IDS = torch.arange(20)[None]
CELLS = [
    ("rsLoRA", "ZeRO-2"),
    *(("DoRA", strategy) for strategy in STRATEGIES if strategy not in BF16),
    ("both", "ZeRO-3"),
]
CELLS_IN_BF16 = [(variant, name) for variant in ("LoRA", "DoRA") for name in BF16]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a model whose matrices are large enough for ZeRO-3 to release them."""
    run = TinyRun(tmp_path_factory.mktemp("variants"))
    run.make_inputs(n_embd=160, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return run


@pytest.fixture(scope="module")
def trained(run):
    """Return the jobs of all cells, trained on two ranks."""
    jobs = {
        (variant, strategy): Job(
            run.plan(
                f"plan-{strategy}", **{"precision": "fp32", **STRATEGIES[strategy]}
            ),
            run.folder / f"state-{variant}-{strategy}",
            {**SETTINGS, "lora": {**LORA, **VARIANTS[variant]}},
        )
        for variant, strategy in (*CELLS, *CELLS_IN_BF16)
    }
    train_all(run.folder, list(jobs.values()), 2)
    return jobs


@pytest.fixture(scope="module")
def references(run, trained):
    """Return a function from a variant to peft's own losses and its model."""
    known = {}

    def reference(variant):
        if variant not in known:
            plan = Plan.read(trained["DoRA", "ZeRO-3"].plan / "plan.json")
            known[variant] = train_with_peft(run.folder, plan, VARIANTS[variant])
        return known[variant]

    return reference


def train_with_peft(folder, plan, variant):
    """Train with PyTorch and peft alone; return the losses and the model."""
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=True, **LORA, **variant)
    model = get_peft_model(model, config).train()
    return train_plainly(model, folder / "tokens", plan, STEPS, RATE), model


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_the_job_is_peft_s(run, trained, references, cell, tmp_path):
    losses, model = references(cell[0])
    assert trained[cell].losses == pytest.approx(losses, abs=2e-5)
    assert losses[-1] < losses[0] - 0.02

    base = run.folder / "base"
    consolidate.run(ConsolidateSettings(), base, trained[cell].checkpoint, tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter"
    )
    with torch.no_grad():
        ours, published, live = (
            network.eval()(input_ids=IDS).logits for network in (merged, adapted, model)
        )
    torch.testing.assert_close(ours, published, atol=2e-6, rtol=0)
    torch.testing.assert_close(ours, live, atol=5e-4, rtol=0)
    by_peft = adapted.merge_and_unload().state_dict()
    for name, tensor in merged.state_dict().items():
        torch.testing.assert_close(tensor, by_peft[name], atol=5e-7, rtol=5e-7)


def test_adapters_in_bf16_are_the_same_under_zero_3(run, trained):
    for variant in ("LoRA", "DoRA"):
        two, three = (trained[variant, strategy] for strategy in BF16)
        assert two.losses == three.losses
        assert two.weights == three.weights
        assert {weight["dtype"] for weight in three.weights.values()} == {"bfloat16"}
    # Both begin with the base model.
    first = [trained[cell].losses[0] for cell in CELLS_IN_BF16]
    assert len(set(first)) == 1


@pytest.mark.parametrize("variant", ["LoRA", "DoRA"])
def test_the_plan_counts_what_is_trained(run, trained, variant):
    lora = LoraSettings(**LORA, **VARIANTS[variant])
    weights = trained[variant, BF16[0]].weights
    configure.run(
        ConfigureSettings(),
        HardwareSettings(accelerator="cpu", ranks_per_node=1),
        *(run.folder / "base", run.folder / "tokens.json", run.folder / variant),
        TrainedWeightsSettings(lora=lora),
    )
    plan = Plan.read(run.folder / variant / "plan.json")
    assert plan.num_trained == sum(
        math.prod(weight["shape"])
        for name, weight in weights.items()
        if "lora_" in name
    )
    page = read_page(run.folder / variant)
    assert f"Adapters of {plan.num_trained:,} parameters are trained." in page


def test_adapters_that_cannot_be_are_refused_by_the_plan(run):
    message = r"finetune.lora.target_modules: \['nonsense'\]: Target modules"
    lora = LoraSettings(target_modules=["nonsense"])
    with pytest.raises(RetuneError, match=message):
        build_training_skeleton(run.folder / "base", tiny_facts(), lora)


def test_adapters_of_llama_8b_are_counted_without_weights(tmp_path):
    config = LlamaConfig(
        **{"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336},
        **{"num_hidden_layers": 32, "num_attention_heads": 32},
        num_key_value_heads=8,
    )
    config.save_pretrained(tmp_path)
    lora = LoraSettings(r=16)
    skeleton = build_training_skeleton(tmp_path, tiny_facts(), lora)
    assert skeleton.num_adapter_parameters == 41_943_040
    assert skeleton.facts.output_head is not None
    # All linear layers but the output head can be held in 4 bits.
    assert num_parameters_in_4bit(build_skeleton(tmp_path)) == 6_979_321_856
    # The loss cannot be computed with its weight alone then.
    lora = LoraSettings(target_modules=["q_proj", "lm_head"])
    skeleton = build_training_skeleton(tmp_path, tiny_facts(), lora)
    assert skeleton.facts.output_head is None


def test_weights_of_zero_have_no_direction(run):
    model = AutoModelForCausalLM.from_pretrained(run.folder / "base")
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[:, 3] = 0.0
    lora, facts = LoraSettings(use_dora=True), ModelFacts.read(run.folder / "base")
    message = "use_dora: transformer.h.1.mlp.c_fc has an output whose weights are all 0"
    with pytest.raises(RetuneError, match=message):
        add_adapters(model, facts, lora)
