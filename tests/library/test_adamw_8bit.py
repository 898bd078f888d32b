"""`optim: adamw_8bit` is bitsandbytes' AdamW, at every ZeRO stage, and saves memory."""

import copy
import shutil

import bitsandbytes
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from plans import make_plan
from retune.artifacts.plan import Plan
from retune.artifacts.publishing import read_json
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.checkpoints.moments import leave_out_moments
from retune.checkpoints.resume import choose
from retune.compat.deepspeed_parameters import whole_numel
from retune.engines.adamw_8bit import FiniteAdamW8bit, parts
from retune.engines.optimizers import build_optimizer
from retune.errors import RetuneError
from retune.models.states_in_8_bits import parameters_in_8_bits
from retune.planning.memory import MOMENTS_IN_8_BITS, checkpoint_bytes
from retune.settings import (
    ConfigureSettings,
    ConsolidateSettings,
    FinetuneSettings,
    HardwareSettings,
    TrainedWeightsSettings,
)
from retune.steps import configure, consolidate
from saved_moments import moments_in
from tiny_run import TinyRun
from training_ranks import Job, train_all

SIX_STEPS = {"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 6, "save_steps": 6}
# Of rank 64, so that the adapters of 64 x 64 have 4,096 elements.
LORA = {"lora": {"r": 64, "lora_alpha": 64}}
# Name -> settings of `configure`. The first is what the others are held to.
STRATEGIES = {
    "ZeRO-0": {"zero_stage": 0},
    "ZeRO-1": {"zero_stage": 1},
    "ZeRO-2": {"zero_stage": 2, "micro_batch_size": 2},
    "ZeRO-3": {"zero_stage": 3},
    "weights on the CPU": {"zero_stage": 3, "offload_param": "cpu"},
    "pipeline": {"pipeline_stages": 2},
    "LoRA, ZeRO-2": {"zero_stage": 2},
    "LoRA, ZeRO-3": {"zero_stage": 3},
    "bf16, ZeRO-2": {"zero_stage": 2, "precision": "bf16"},
    "bf16, ZeRO-3": {"zero_stage": 3, "precision": "bf16"},
}
# Those in which the loss is NaN in two steps.
SKIPPING = ("ZeRO-0", "ZeRO-3")
# Largest difference of a loss, nats, between strategies, and from AdamW in 32 bits.
TOLERANCE = {"fp32": 2e-5, "bf16": 5e-3}
TOLERANCE_OF_8_BITS = {"fp32": 2e-3, "bf16": 5e-3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of which all large matrices can be cut into blocks of 256 for each rank."""
    run = TinyRun(tmp_path_factory.mktemp("adamw-8bit"))
    run.make_inputs(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, n_embd=64)
    return run


def make_job(run, name, optim):
    settings = LORA if "LoRA" in name else {}
    folder = f"{name}-{optim}".replace(" ", "-")
    plan = run.folder / f"plan-{folder}"
    configure.run(
        ConfigureSettings(optim=optim, **STRATEGIES[name]),
        HardwareSettings(accelerator="cpu", ranks_per_node=2),
        *(run.folder / "base", run.folder / "tokens.json", plan),
        TrainedWeightsSettings(**settings),
    )
    return Job(plan, run.folder / f"state-{folder}", {**SIX_STEPS, **settings})


@pytest.fixture(scope="module")
def trained(run):
    """Return (strategy, optimizer) -> its job, trained on two ranks."""
    cells = [(name, "adamw_8bit") for name in STRATEGIES]
    cells += [("ZeRO-0", "adamw"), ("LoRA, ZeRO-2", "adamw")]
    jobs = {cell: make_job(run, *cell) for cell in cells}
    fault = {"name": "nan loss", "rank": 1, "step": 0, "steps": [2, 3]}
    for name in SKIPPING:
        job = jobs[name, "adamw_8bit"]
        state = run.folder / f"skipping-{name}"
        settings = {**SIX_STEPS, "save_steps": 1, "save_total_limit": 6}
        jobs[name, "skipping"] = Job(job.plan, state, settings, fault)
    train_all(run.folder, sorted(jobs.values(), key=is_pipeline), 2)
    return jobs


def is_pipeline(job):
    """Whether DeepSpeed will remember the job for the rest of the process."""
    return "pipeline" in job.state.name


def first_like(name):
    """Return the first strategy that trains the same weights."""
    return next(each for each in STRATEGIES if ("LoRA" in each) == ("LoRA" in name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_losses_do_not_depend_on_the_strategy(trained, name):
    losses = trained[name, "adamw_8bit"].losses
    same = trained[first_like(name), "adamw_8bit"].losses
    precision = STRATEGIES[name].get("precision", "fp32")
    assert losses == pytest.approx(same, abs=TOLERANCE[precision])
    other = trained[first_like(name), "adamw"].losses
    assert losses == pytest.approx(other, abs=TOLERANCE_OF_8_BITS[precision])
    if precision == "fp32":
        # From the third loss on, since the first step's moments are exact.
        assert all(one != two for one, two in zip(losses[3:], other[3:], strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_ranks_hold_what_the_memory_model_says(trained, name):
    job = trained[name, "adamw_8bit"]
    plan = Plan.read(job.plan / "plan.json")
    files = list(job.checkpoint.glob("*optim_states.pt"))
    if plan.zero_stage == 0:
        files = list(job.checkpoint.glob("mp_rank_00_model_states.pt"))
    saved = [torch.load(file, weights_only=False) for file in files]
    moments = list(moments_in(saved))
    in_8_bits = [each for each in moments if each["state1"].dtype == torch.uint8]
    sizes = [
        each[key].nbytes
        for each in in_8_bits
        for key in ("state1", "state2", "absmax1", "absmax2")
    ]
    assert sum(sizes) == plan.num_8bit_moments * MOMENTS_IN_8_BITS
    others = [each for each in moments if each["state1"].dtype == torch.float32]
    number = sum(each["state1"].numel() for each in others)
    in_32_bits = plan.num_trained - plan.num_8bit_moments
    if plan.pipeline_stages > 1:
        in_32_bits += 300 * 64  # the last stage has the tied embedding, too
    # DeepSpeed pads each group for the ranks.
    assert 0 <= number - in_32_bits <= 64
    assert len(in_8_bits) + len(others) == len(moments)


@pytest.mark.parametrize("name", ["ZeRO-0", "ZeRO-1", "ZeRO-3"])
def test_a_checkpoint_takes_what_the_disk_is_asked_for(trained, name):
    job = trained[name, "adamw_8bit"]
    plan = Plan.read(job.plan / "plan.json")
    size = sum(path.stat().st_size for path in job.checkpoint.iterdir())
    # Besides, pickles and JSON.
    assert 0 < size - checkpoint_bytes(plan, plan.num_trained) < 120_000


@pytest.mark.parametrize("name", ["ZeRO-0", "ZeRO-2", "ZeRO-3"])
def test_what_is_left_without_moments_is_the_model(run, trained, name, tmp_path):
    job = trained[name, "adamw_8bit"]
    left = tmp_path / "checkpoint"
    shutil.copytree(job.checkpoint, left)
    leave_out_moments(job.checkpoint, left)
    saved = [torch.load(file, weights_only=False) for file in left.glob("*.pt")]
    assert not list(moments_in(saved))
    assert not any(b"absmax1" in path.read_bytes() for path in left.iterdir())
    model = tmp_path / "model"
    consolidate.run(ConsolidateSettings(), run.folder / "base", left, model)
    _, info = AutoModelForCausalLM.from_pretrained(model, output_loading_info=True)
    assert not any(info.values())


def test_another_number_of_ranks_is_refused_but_for_zero_0(trained):
    for name in ("ZeRO-0", "ZeRO-2"):
        job = trained[name, "adamw_8bit"]
        plan = Plan.read(job.plan / "plan.json")
        on_one = plan.model_copy(update={"ranks_per_node": 1})
        assert choose(job.state, plan).folder == job.checkpoint
        if name == "ZeRO-0":
            assert choose(job.state, on_one).folder == job.checkpoint
            continue
        with pytest.raises(RetuneError, match="optim: adamw_8bit a run can be resumed"):
            choose(job.state, on_one)


@pytest.mark.parametrize("name", SKIPPING)
def test_steps_that_are_not_finite_are_skipped(trained, name):
    job = trained[name, "skipping"]
    assert [loss is None for loss in job.losses] == [False, True, True, *[False] * 3]
    one, two, three, four, *_ = find_checkpoints(job.state)
    weights = [read_json(folder / "weights.json") for folder in (one, two, three, four)]
    assert weights[0] == weights[1] == weights[2] != weights[3]


def make_model(**config):
    torch.manual_seed(0)
    shape = {"vocab_size": 100, "n_positions": 64, "n_embd": 64, "n_layer": 2}
    return AutoModelForCausalLM.from_config(GPT2Config(n_head=2, **shape, **config))


def optimizer_of(model):
    plan = make_plan(optim="adamw_8bit", zero_stage=0)
    return build_optimizer(model, FinetuneSettings(learning_rate=1e-2), plan)


def draw_gradients(*models):
    for parameters in zip(*(model.parameters() for model in models), strict=True):
        gradient = torch.randn(parameters[0].shape)
        for parameter in parameters:
            parameter.grad = gradient.clone()


def test_a_step_is_bit_for_bit_that_of_bitsandbytes():
    model = make_model()
    other = copy.deepcopy(model)
    optimizer = optimizer_of(model)
    assert isinstance(optimizer, FiniteAdamW8bit)
    options = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8}
    matrices = [p for p in other.parameters() if p.dim() > 1]
    embeddings = [p for p in matrices if p.shape in ((100, 64), (64, 64))][:2]
    assert embeddings[0] is other.transformer.wte.weight
    assert embeddings[1] is other.transformer.wpe.weight
    large = [p for p in matrices if all(p is not each for each in embeddings)]
    others = [p for p in other.parameters() if p.dim() == 1]
    references = [
        bitsandbytes.optim.AdamW8bit(large, weight_decay=0.1, **options),
        bitsandbytes.optim.AdamW32bit(embeddings, weight_decay=0.1, **options),
        bitsandbytes.optim.AdamW32bit(others, weight_decay=0.0, **options),
    ]
    for _ in range(5):
        draw_gradients(model, other)
        for each in (optimizer, *references):
            each.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_no_step_is_taken_with_gradients_that_are_not_finite():
    model = make_model()
    optimizer = optimizer_of(model)
    draw_gradients(model)
    optimizer.step()
    weights = copy.deepcopy(model.state_dict())
    states = copy.deepcopy(optimizer.state_dict())
    draw_gradients(model)
    next(model.parameters()).grad[0, 0] = torch.nan
    optimizer.step()
    assert optimizer.overflow
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict(), states, rtol=0, atol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_and_heads_that_are_tied_to_them_keep_32_bits(tied):
    model = make_model(tie_word_embeddings=tied)
    in_8_bits = {id(p) for p in parameters_in_8_bits(model)}
    names = {name for name, p in model.named_parameters() if id(p) in in_8_bits}
    blocks = [f"transformer.h.{layer}." for layer in (0, 1)]
    matrices = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    expected = {f"{block}{name}.weight" for block in blocks for name in matrices}
    assert names == (expected if tied else expected | {"lm_head.weight"})


def test_groups_are_cut_before_they_are_too_large():
    parameters = [torch.nn.Parameter(torch.zeros(size)) for size in (3, 3, 9, 2, 4)]
    cut = [[whole_numel(p) for p in part] for part in parts(parameters, most=6)]
    assert cut == [[3, 3], [9], [2, 4]]
