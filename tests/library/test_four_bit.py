"""Adapters on a base model in 4 bits train as with peft and bitsandbytes alone."""

import shutil
from dataclasses import replace
from math import prod

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from model_families import make_run, reference_loss
from plain_adapters import train_plainly
from retune.artifacts.checkpoint_weights import CheckpointWeights
from retune.artifacts.plan import Plan
from retune.artifacts.publishing import read_json, write_json, write_manifest
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.compat.bitsandbytes_4bit import layers_in_4bit
from retune.compat.peft_names import is_adapter
from retune.errors import RetuneError
from retune.measuring.history import read_history, validations_in
from retune.models.base_weights import BaseWeights
from retune.models.tensor_hashes import tensor_sha256
from retune.settings import ConsolidateSettings, TrainedWeightsSettings
from retune.steps import consolidate
from retune.tokens.data_shard import DataShard
from saved_moments import moments_in
from training_ranks import Job, train_all

STEPS = 4
RATE = 1e-2
SETTINGS = {
    **{"max_steps": STEPS, "learning_rate": RATE, "lr_scheduler_type": "constant"},
    **{"epochs": 9, "warmup_steps": 0, "eval_steps": STEPS, "save_steps": 2},
}
LORA = {"r": 4, "lora_alpha": 8.0, "load_in_4bit": True}
# With matrices that are large enough for moments in 8 bits.
RANK_64 = {"r": 64, "lora_alpha": 8.0, "load_in_4bit": True}
DORA = {**LORA, "use_dora": True}
# On CPUs bitsandbytes 0.50 computes only layers of such widths everywhere alike.
WIDTHS = {"hidden_size": 64, "intermediate_size": 128}
FAMILIES = {
    "llama": WIDTHS,
    # Its layers are Conv1D, whose weights are [in, out].
    "gpt2": {"n_embd": 64},
    # Its experts are stacked and stay as they are.
    "mixtral": WIDTHS,
}
# Name -> family, of `configure`, adapters.
CELLS = {
    "ZeRO-1": ("llama", {"zero_stage": 1}, LORA),
    "ZeRO-2": ("llama", {"zero_stage": 2}, LORA),
    "selective": (
        "llama",
        {"zero_stage": 2, "activation_checkpointing": "selective"},
        LORA,
    ),
    "DoRA": ("llama", {"zero_stage": 2}, DORA),
    "bf16, DoRA": ("llama", {"zero_stage": 2, "precision": "bf16"}, DORA),
    "Conv1D": ("gpt2", {"zero_stage": 2}, LORA),
    "experts": ("mixtral", {"zero_stage": 2}, LORA),
    "moments in 8 bits": (
        *("llama", {"zero_stage": 2, "optim": "adamw_8bit"}, RANK_64),
    ),
}
# Largest difference of a loss from that in fp32, nats; they begin above 8.
IN_TRAINING = {"fp32": 2e-5, "bf16": 5e-2}
IN_8_BITS = 5e-4
PUBLISHED = {"fp32": 2e-5, "bf16": 1e-2}


def precision_of(cell):
    return CELLS[cell][1].get("precision", "fp32")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a run of each family."""
    folder = tmp_path_factory.mktemp("four-bit")
    return {
        family: make_run(family, folder / family, torch.float32, **changed)
        for family, changed in FAMILIES.items()
    }


def adapters(lora):
    """Return what `configure` is told of the adapters."""
    return TrainedWeightsSettings(lora=lora)


def phases_of(run):
    """Return what has rank 0 write its signs of life."""
    return {"name": "phases", "rank": 0, "step": 0, "at": run.folder / "phases"}


@pytest.fixture(scope="module")
def trained(runs):
    """Return the jobs of all cells, trained on two ranks."""
    jobs = {}
    for cell, (family, strategy, lora) in CELLS.items():
        run, name = runs[family], cell.replace(", ", "-")
        plan = {"precision": "fp32", "global_batch_size": 8, **strategy}
        jobs[cell] = Job(
            run.plan(f"plan-{name}", 2, trained=adapters(lora), **plan),
            run.folder / f"state-{name}",
            {**SETTINGS, "lora": lora},
            phases_of(run) if cell == "ZeRO-1" else None,
            run.folder,
        )
    train_all(runs["llama"].folder, list(jobs.values()), 2)
    return jobs


@pytest.fixture(scope="module")
def references(runs, trained):
    """Return a function from a cell to the losses of peft alone, and its model."""
    known = {}

    def reference(cell):
        family, _, lora = CELLS[cell]
        key = family, str(lora)
        if key not in known:
            plan = Plan.read(trained[cell].plan / "plan.json")
            known[key] = train_with_bitsandbytes(runs[family].folder, plan, lora)
        return known[key]

    return reference


def train_with_bitsandbytes(folder, plan, lora):
    """Train with Transformers, peft and bitsandbytes alone, in fp32, on one process."""
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder / "base",
        dtype=torch.float32,
        quantization_config=four_bit,
        device_map="cpu",
    )
    torch.manual_seed(0)
    options = {key: value for key, value in lora.items() if key != "load_in_4bit"}
    if model.config.model_type == "mixtral":
        options["target_modules"] = ["q_proj", "k_proj", "v_proj", "o_proj"]
    config = LoraConfig(
        **{"task_type": "CAUSAL_LM", "target_modules": "all-linear", **options}
    )
    model = get_peft_model(model, config).train()
    return train_plainly(model, folder / "tokens", plan, STEPS, RATE)


@pytest.mark.parametrize("cell", CELLS)
def test_losses_are_those_of_peft_and_bitsandbytes(trained, references, cell):
    losses = references(cell)
    tolerance = IN_8_BITS if is_in_8_bits(cell) else IN_TRAINING[precision_of(cell)]
    assert trained[cell].losses == pytest.approx(losses, abs=tolerance)
    assert losses[-1] < losses[0] - 0.05


def is_in_8_bits(cell):
    return "optim" in CELLS[cell][1]


@pytest.mark.parametrize("cell", CELLS)
def test_as_many_weights_are_planned_as_are_held(trained, cell):
    plan = Plan.read(trained[cell].plan / "plan.json")
    weights = CheckpointWeights.read(trained[cell].checkpoint)
    sizes = {name: prod(weight.shape) for name, weight in weights.tensors.items()}
    held = sum(sizes[name] for name in weights.in_4bit)
    assert plan.num_4bit_parameters == held > 20_000
    own = sum(size for name, size in sizes.items() if is_adapter(name))
    assert plan.num_adapter_parameters == own > 0
    assert bool(plan.num_8bit_moments) == is_in_8_bits(cell)


@pytest.mark.parametrize("in_4bit", [True, False])
def test_a_plan_that_was_made_for_other_weights_is_refused(runs, in_4bit):
    run, lora = runs["llama"], {**LORA, "load_in_4bit": in_4bit}
    other = adapters({**LORA, "load_in_4bit": not in_4bit})
    plan = run.plan(f"plan-not-{in_4bit}", trained=other, zero_stage=2)
    message = f"load_in_4bit: {str(in_4bit).lower()}, but the plan .*rerun configure"
    with pytest.raises(RetuneError, match=message):
        run.finetune(plan, f"not-{in_4bit}", lora=lora, **SETTINGS)


def test_moments_are_in_8_bits_as_planned(trained):
    job = trained["moments in 8 bits"]
    plan = Plan.read(job.plan / "plan.json")
    numbers = dict.fromkeys((torch.uint8, torch.float32), 0)
    for file in job.checkpoint.rglob("*optim_states.pt"):
        for moments in moments_in(torch.load(file, weights_only=False)):
            numbers[moments["state1"].dtype] += moments["state1"].numel()
    assert numbers[torch.uint8] == plan.num_8bit_moments > 0
    assert sum(numbers.values()) == plan.num_adapter_parameters


def test_each_weight_is_a_sign_of_life_while_the_model_is_loaded(runs, trained):
    told = (runs["llama"].folder / "phases").read_text().splitlines()
    weights = CheckpointWeights.read(trained["ZeRO-1"].checkpoint)
    assert told.count("loading") == 1 + len(weights.in_4bit)


def validation_loss(run, folder, plan):
    """Return the validation loss of a published model, as Transformers computes it."""
    plan = plan.model_copy(update={"micro_batch_size": 4})
    batches = DataShard(run.folder / "tokens", plan, 0, 0, 1).validation_batches()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return reference_loss(model, batches, torch.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_the_published_model_is_the_live_one(runs, trained, cell, tmp_path):
    run, job = runs[CELLS[cell][0]], trained[cell]
    base, plan = run.folder / "base", Plan.read(job.plan / "plan.json")
    live = validations_in(read_history(job.state))[-1].validation_loss
    told = consolidate.run(
        ConsolidateSettings(), base, job.checkpoint, tmp_path / "merged"
    )
    assert told.endswith("adapters merged into the weights as they were in 4 bits")
    merged = validation_loss(run, tmp_path / "merged", plan)
    assert merged == pytest.approx(live, abs=PUBLISHED[precision_of(cell)])


@pytest.mark.parametrize("cell", ["ZeRO-2", "DoRA", "Conv1D"])
def test_the_adapters_are_the_same_model_as_their_readme_loads_them(
    runs, trained, cell, tmp_path
):
    run, job = runs[CELLS[cell][0]], trained[cell]
    consolidate.run(
        ConsolidateSettings(), run.folder / "base", job.checkpoint, tmp_path / "model"
    )
    readme = (tmp_path / "model/adapter/README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    code = code.replace("BASE MODEL", str(run.folder / "base"))
    names = {}
    exec(code.replace('"adapter"', repr(str(tmp_path / "model/adapter"))), names)
    for layer in layers_in_4bit(names["model"]).values():
        # On CPUs with AVX512-BF16 bitsandbytes rounds scales to bf16 in evaluation.
        layer.support_avx512bf16_for_cpu = False
    plan = Plan.read(job.plan / "plan.json").model_copy(update={"micro_batch_size": 4})
    batches = DataShard(run.folder / "tokens", plan, 0, 0, 1).validation_batches()
    live = validations_in(read_history(job.state))[-1].validation_loss
    loaded = reference_loss(names["model"], batches, torch.float32)
    assert loaded == pytest.approx(live, abs=PUBLISHED["fp32"])


@pytest.mark.parametrize("cell", ["ZeRO-2", "Conv1D"])
def test_merged_into_the_weights_of_the_files_it_would_be_another_model(
    runs, trained, cell, tmp_path
):
    run, job = runs[CELLS[cell][0]], trained[cell]
    base, plan = run.folder / "base", Plan.read(job.plan / "plan.json")
    live = validations_in(read_history(job.state))[-1].validation_loss
    wrong = without_4bit(base, job.checkpoint, tmp_path / "checkpoint")
    consolidate.run(ConsolidateSettings(), base, wrong, tmp_path / "wrong")
    assert abs(validation_loss(run, tmp_path / "wrong", plan) - live) > 2e-2


def without_4bit(base, checkpoint, folder):
    """Return a copy of a checkpoint as if the weights had been those of the files."""
    shutil.copytree(checkpoint, folder)
    values = read_json(folder / "weights.json")
    stored = BaseWeights(base)
    for name in values.pop("in_4bit"):
        weight = values["tensors"][name]
        tensor = stored.read(name).to(getattr(torch, weight["dtype"]))
        weight["sha256"] = tensor_sha256(tensor)
    write_json(folder / "weights.json", values)
    write_manifest(folder)
    return folder


def cut_back(job, folder, **changes):
    """Return a copy of a job as a kill after its first checkpoint leaves it."""
    state = folder / job.state.name
    shutil.copytree(job.state, state)
    for checkpoint in find_checkpoints(state)[1:]:
        shutil.rmtree(checkpoint)
    return replace(job, state=state, **changes)


@pytest.mark.long
def test_a_killed_run_goes_on_on_as_many_ranks_and_on_others(runs, trained, tmp_path):
    whole = {cell: trained[cell] for cell in ("ZeRO-2", "bf16, DoRA")}
    again = {cell: cut_back(job, tmp_path) for cell, job in whole.items()}
    train_all(runs["llama"].folder, list(again.values()), 2)
    for cell, job in whole.items():
        assert read_json(again[cell].state / "started.json")["step"] == 2
        assert again[cell].losses == job.losses
        assert again[cell].weights == job.weights

    plan = {"precision": "fp32", "global_batch_size": 8, "zero_stage": 2}
    alone = cut_back(
        whole["ZeRO-2"],
        tmp_path / "alone",
        plan=runs["llama"].plan("plan-alone", 1, trained=adapters(LORA), **plan),
    )
    train_all(runs["llama"].folder, [alone], 1)
    assert read_json(alone.state / "started.json")["step"] == 2
    assert alone.losses == pytest.approx(whole["ZeRO-2"].losses, abs=2e-5)
    frozen = CheckpointWeights.read(alone.checkpoint).in_4bit
    assert len(frozen) == 14
    assert all(alone.weights[name] == whole["ZeRO-2"].weights[name] for name in frozen)
