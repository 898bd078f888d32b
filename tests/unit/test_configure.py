"""The plan: batches that multiply, a config with nothing left open, reasons."""

import json
from dataclasses import replace

import pytest

from chosen_plans import CPU, GPUS, plan_of
from plans import read_page
from retune.artifacts.plan import Plan, Reasons
from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from retune.planning import bitsandbytes
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.hardware import Hardware, resolve_hardware
from retune.settings import ConfigureSettings, HardwareSettings
from retune.steps.configure import run
from tiny_facts import write_tiny_base
from token_files import make_token_metrics


@pytest.mark.parametrize("hardware", [CPU, GPUS])
@pytest.mark.parametrize("batch", [8, 16, 48])
@pytest.mark.parametrize("micro", ["auto", 1])
def test_the_batch_is_micro_times_accumulation_times_ranks(hardware, batch, micro):
    plan = plan_of(
        ConfigureSettings(global_batch_size=batch, micro_batch_size=micro), hardware
    )
    assert batch == (
        plan.micro_batch_size * plan.gradient_accumulation_steps * plan.world_size
    )


def test_a_batch_that_does_not_split_is_refused():
    settings = ConfigureSettings(global_batch_size=12, micro_batch_size=4)
    with pytest.raises(RetuneError, match=r"configure.global_batch_size: 12 .*2 x 4"):
        plan_of(settings)


def test_ranks_that_cannot_share_the_stages_are_refused():
    with pytest.raises(RetuneError, match=r"pipeline_stages: 3, but 2 ranks"):
        plan_of(ConfigureSettings(pipeline_stages=3))


def test_fp16_is_refused_where_auto_became_cpu():
    with pytest.raises(
        RetuneError, match=r"configure.precision: fp16, but the ranks are CPUs"
    ):
        plan_of(ConfigureSettings(precision="fp16"))


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (
            {"zero_stage": 0},
            "configure.zero_stage: 0 with precision: bf16 takes one Adam step too many"
            " in DeepSpeed 0.19: use zero_stage: 1, or precision: fp32",
        ),
        (
            {"offload_optimizer": "cpu", "pipeline_stages": 2},
            "configure.pipeline_stages: 2 goes with offload_optimizer: none, not cpu",
        ),
        (
            {"offload_param": "cpu", "zero_stage": 2},
            "configure.offload_param: cpu needs zero_stage: 3, not 2",
        ),
    ],
)
def test_the_plan_is_held_to_the_rules_of_the_settings(strategy, told):
    with pytest.raises(RetuneError) as error:
        plan_of(ConfigureSettings(**strategy), GPUS)
    assert str(error.value) == told


def test_the_config_is_complete():
    settings = ConfigureSettings(zero_stage=3, offload_param="cpu", precision="bf16")
    config = deepspeed_config(plan_of(settings, GPUS))
    assert "auto" not in json.dumps(config)
    assert config["bf16"]["enabled"]
    assert not config["bf16"]["bf16_optimizer_states"]
    assert config["fp16"] == {"enabled": False}
    assert config["zero_optimization"]["stage"] == 3
    assert config["zero_optimization"]["offload_param"]["device"] == "cpu"


def test_only_several_ranks_send_gradients_during_the_backward_pass():
    alone = replace(GPUS, ranks_per_node=1)
    for hardware, overlaps in ((GPUS, True), (alone, False)):
        config = deepspeed_config(plan_of(ConfigureSettings(), hardware))
        assert config["zero_optimization"]["overlap_comm"] is overlaps


@pytest.mark.parametrize(
    ("micro", "stage", "in_fp32"),
    [(1, 2, True), (1, 3, True), (2, 2, False), (1, 1, False)],
)
def test_bf16_gradients_add_up_in_fp32(micro, stage, in_fp32):
    settings = ConfigureSettings(
        precision="bf16", zero_stage=stage, micro_batch_size=micro, global_batch_size=16
    )
    config = deepspeed_config(plan_of(settings, GPUS))
    assert ("data_types" in config) == in_fp32


@pytest.mark.parametrize(
    ("num_parameters", "stage"), [(10**9, 2), (8 * 10**9, 2), (70 * 10**9, 3)]
)
def test_zero_3_is_chosen_where_stage_2_would_not_fit(num_parameters, stage):
    assert plan_of(ConfigureSettings(), GPUS, num_parameters).zero_stage == stage


def test_precision_follows_the_accelerator():
    assert plan_of(ConfigureSettings(), CPU).precision == "fp32"
    assert plan_of(ConfigureSettings(), GPUS).precision == "bf16"


def test_states_in_bf16_need_that_precision_where_auto_became_fp32():
    with pytest.raises(RetuneError, match=r"needs precision: bf16, not fp32"):
        plan_of(ConfigureSettings(bf16_optimizer_states=True), CPU)


def test_adamw_in_8_bits_that_would_have_32_is_refused():
    with pytest.raises(RetuneError, match="no trained matrix beside the embeddings"):
        plan_of(ConfigureSettings(optim="adamw_8bit"))


def test_adamw_in_8_bits_without_bitsandbytes_is_refused(monkeypatch):
    monkeypatch.setattr(bitsandbytes, "find_spec", lambda name: None)
    with pytest.raises(RetuneError, match=r"pip install 'retune\[bitsandbytes\]'"):
        bitsandbytes.check_bitsandbytes("configure.optim: adamw_8bit")


def test_auto_without_a_gpu_is_two_cpu_ranks():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    settings = HardwareSettings(accelerator="auto", ranks_per_node="auto")
    assert resolve_hardware(settings) == Hardware("cpu", 1, 2, None, None)
    with pytest.raises(RetuneError, match=r"hardware.ranks_per_node: auto"):
        resolve_hardware(HardwareSettings(accelerator="cuda", ranks_per_node="auto"))


def test_hardware_that_is_elsewhere_is_taken_as_given():
    settings = HardwareSettings(accelerator="cuda", nodes=4, ranks_per_node=8)
    assert resolve_hardware(settings).world_size == 32


@pytest.fixture
def run_here(tmp_path):
    """Return a function that plans a tiny model for so many blocks."""
    base = tmp_path / "base"
    write_tiny_base(base)

    def run_it(blocks, **hardware):
        make_token_metrics(blocks, 128).write(tmp_path / "tokens.json")
        return run(
            ConfigureSettings(),
            HardwareSettings(**hardware),
            base,
            tmp_path / "tokens.json",
            tmp_path / "plan",
        )

    return run_it


def test_one_rank_is_not_told_as_ranks(run_here, tmp_path):
    assert "on 1 CPU rank: batch" in run_here(160, ranks_per_node=1)
    (plan,) = (tmp_path / "plan").glob("*.md")
    assert " on 1 x 1 rank, cpu." in plan.read_text()
    assert "M parameters" not in plan.read_text()


def test_run_writes_config_plan_and_reasons(run_here, tmp_path):
    line = run_here(160)
    assert line == "ZeRO-2, fp32 on 2 CPU ranks: batch 16 = 8 x 1 x 2"
    config = read_json(tmp_path / "plan/deepspeed.json")
    assert config["train_batch_size"] == 16
    plan = Plan.read_verified(
        tmp_path / "plan/plan.json", tmp_path / "plan/deepspeed.json"
    )
    assert plan.tokens_per_step == 16 * 128
    reasons = Reasons.read_verified(tmp_path / "plan/reasons.json")
    assert all(decision.why for decision in reasons.decisions)
    assert "| zero_stage | `2` |" in read_page(tmp_path / "plan")
    assert reasons.warnings == ()
    assert "all training sequences once are 10.0 steps.\n\n|" in read_page(
        tmp_path / "plan"
    )


def test_a_batch_that_is_more_than_the_data_is_told(run_here, tmp_path, caplog):
    line = run_here(5)
    warning = (
        "configure.global_batch_size: 16 is more than the 5 training blocks: each step"
        " goes over them 3.2 times, whatever finetune.epochs"
    )
    assert line.endswith(f"; {warning}")
    assert warning in caplog.text
    assert f"**{warning}**" in read_page(tmp_path / "plan")
    reasons = Reasons.read_verified(tmp_path / "plan/reasons.json")
    assert reasons.warnings == (warning,)
    assert "more than" not in run_here(16)


def test_a_plan_of_another_version_is_told(run_here, tmp_path):
    run_here(160)
    path = tmp_path / "plan/plan.json"
    plan = read_json(path)
    for value, where in (({**plan, "format": 0}, "format"), ({"format": 1}, "prec")):
        write_json(path, value)
        with pytest.raises(RetuneError, match=f"{path}: not what .*{where}.*configure"):
            Plan.read(path)


def test_what_nobody_trains_by_is_not_in_the_plan(run_here, tmp_path):
    run_here(160)
    before = (tmp_path / "plan/plan.json").read_text()
    run_here(161, cpu_memory_gb=100)
    assert (tmp_path / "plan/plan.json").read_text() == before
    assert (tmp_path / "plan/reasons.json").read_text()
