"""The plan: batches that multiply, a config with nothing left open, reasons."""

import json
from dataclasses import replace

import pytest

from retune.artifacts.plan import Plan, Reasons
from retune.artifacts.publishing import (
    read_json,
    write_json,
    write_manifest,
)
from retune.errors import RetuneError
from retune.planning import bitsandbytes
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.explanation import frozen_text
from retune.planning.hardware import Hardware, resolve_hardware
from retune.planning.memory import (
    accumulates_in_fp32,
    checkpoint_bytes,
    live_bytes,
    model_states_bytes,
    offloaded_to_cpu_bytes,
)
from retune.planning.strategy import make_plan
from retune.settings import ConfigureSettings, HardwareSettings
from retune.steps.configure import (
    check_cpu_memory,
    memory_warnings,
    run,
    warnings_4bit,
)
from tiny_facts import tiny_facts
from token_files import make_token_metrics

CPU = Hardware("cpu", 1, 2, None, None)
GPUS = Hardware("cuda", 1, 8, 80.0, None)


def plan_of(
    settings, hardware=CPU, num_parameters=10**6, sequence_length=256, blocks=1000
):
    facts = tiny_facts(num_parameters=num_parameters)
    plan, decisions = make_plan(settings, hardware, facts, sequence_length, blocks)
    # Every value that is told is the plan's.
    for decision in decisions:
        assert getattr(plan, decision.setting) == decision.value
    return plan


def bytes_of(stage, ranks=8, **strategy):
    """Return the bytes of model states of a bf16 model with one parameter."""
    options = {"global_batch_size": 16, "micro_batch_size": 2, **strategy}
    settings = ConfigureSettings(precision="bf16", zero_stage=stage, **options)
    return model_states_bytes(
        plan_of(settings, Hardware("cuda", 1, ranks, 80.0, None), num_parameters=1)
    )


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


def test_one_rank_shards_nothing():
    one = Hardware("cuda", 1, 1, 24.0, None)
    assert plan_of(ConfigureSettings(), one, 8 * 10**9).zero_stage == 2


def test_frozen_weights_have_neither_gradients_nor_states():
    one = Hardware("cuda", 1, 1, 24.0, None)
    settings = ConfigureSettings(global_batch_size=1)
    # Llama 3.1 8B, with adapters of rank 16 on all linear layers.
    facts = tiny_facts(num_parameters=8_030_261_248)
    plan, _ = make_plan(settings, one, facts, 4096, 1000, 41_943_040)
    assert plan.num_trained == 41_943_040
    assert model_states_bytes(plan) / 1e9 == pytest.approx(16.73, abs=0.01)
    three = plan.model_copy(update={"zero_stage": 3, "ranks_per_node": 8})
    assert model_states_bytes(three) == model_states_bytes(plan) / 8
    offloaded = {"offload_optimizer": "cpu", "offload_param": "cpu"}
    both = plan.model_copy(update={"zero_stage": 3, **offloaded})
    assert model_states_bytes(both) == 41_943_040 * 2
    assert offloaded_to_cpu_bytes(both) == 8_030_261_248 * 2 + 41_943_040 * 18
    assert checkpoint_bytes(plan, plan.num_trained) == 41_943_040 * 14


def test_weights_in_4_bits_take_half_a_byte_and_their_scales():
    settings = ConfigureSettings(global_batch_size=1)
    facts = tiny_facts(num_parameters=8_030_261_248)
    # Llama 3.1 8B as above; the embedding and the output head stay in bf16. Two GPUs:
    # weights that could be sharded would be, at stage 3.
    two = Hardware("cuda", 1, 2, 8.0, None)
    in_4bit = 6_979_321_856
    two_settings = settings.model_copy(update={"global_batch_size": 2})
    plan, decisions = make_plan(
        two_settings, two, facts, 4096, 1000, 41_943_040, in_4bit
    )
    assert plan.zero_stage == 2
    assert decisions[1].why.startswith("weights in 4 bits cannot be sharded")
    alone = plan.model_copy(update={"ranks_per_node": 1})
    others = facts.num_parameters - in_4bit
    expected = in_4bit * 0.5625 + others * 2 + 41_943_040 * 16
    assert model_states_bytes(alone) == expected
    # What is hashed are the weights that the 4 bits stand for.
    assert live_bytes(alone) == 2 * (facts.num_parameters + 41_943_040)
    assert expected / 1e9 == pytest.approx(6.70, abs=0.01)
    assert "6,979.3 M parameters of them in 4 bits (NF4)" in frozen_text(plan)
    assert warnings_4bit(plan) == []
    mixture = plan.model_copy(update={"num_4bit_parameters": facts.num_parameters // 4})
    (told,) = warnings_4bit(mixture)
    assert "only 25.0 % of the parameters can be held in 4 bits" in told
    assert "experts of a mixture stay in bf16" in told


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


@pytest.mark.parametrize(
    ("settings", "hardware", "blocks", "compiled"),
    [
        # 8 B parameters on 8 GPUs: 1,000 sequences take 20 s, 100,000 half an hour.
        ({}, GPUS, 1000, False),
        ({}, GPUS, 100_000, True),
        ({}, CPU, 100_000, False),
        ({"zero_stage": 3}, GPUS, 100_000, False),
        ({"activation_checkpointing": "selective"}, GPUS, 100_000, False),
        ({"zero_stage": 3, "torch_compile": True}, GPUS, 1000, True),
        ({"torch_compile": True}, CPU, 1000, True),
        ({"torch_compile": False}, GPUS, 100_000, False),
    ],
)
def test_layers_are_compiled_where_a_pass_takes_long(
    settings, hardware, blocks, compiled
):
    settings = ConfigureSettings(**settings)
    plan = plan_of(settings, hardware, 8 * 10**9, 1024, blocks)
    assert plan.torch_compile == compiled


@pytest.mark.parametrize(
    ("stage", "bytes_per_parameter"), [(1, 5.5), (2, 3.75), (3, 2)]
)
def test_model_states_are_those_of_the_zero_paper(stage, bytes_per_parameter):
    assert bytes_of(stage) == bytes_per_parameter


@pytest.mark.parametrize(
    ("stage", "strategy", "bytes_per_parameter"),
    [
        (1, {}, 2 + 2 + 6 / 8),
        (2, {}, 2 + (2 + 6) / 8),
        (3, {}, (2 + 2 + 4) / 8),
        # Offloaded weights need a copy on the GPU.
        (3, {"offload_param": "cpu"}, (2 + 6) / 8),
    ],
)
def test_states_in_bf16_take_half(stage, strategy, bytes_per_parameter):
    assert bytes_of(stage, bf16_optimizer_states=True, **strategy) == (
        bytes_per_parameter
    )


def test_states_in_bf16_need_that_precision_where_auto_became_fp32():
    with pytest.raises(RetuneError, match=r"needs precision: bf16, not fp32"):
        plan_of(ConfigureSettings(bf16_optimizer_states=True), CPU)


@pytest.mark.parametrize(
    ("stage", "precision", "bytes_per_parameter"),
    [
        (0, "fp32", 4 + 4 + 2 + 1 / 32),
        (2, "bf16", 2 + (2 + 4 + 2 + 1 / 32) / 8),
        (3, "bf16", (2 + 2 + 4 + 2 + 1 / 32) / 8),
    ],
)
def test_moments_in_8_bits_take_two_bytes_and_their_scales(
    stage, precision, bytes_per_parameter
):
    settings = ConfigureSettings(
        optim="adamw_8bit", zero_stage=stage, precision=precision, micro_batch_size=2
    )
    facts = tiny_facts(num_parameters=3 * 10**9)
    plan, decisions = make_plan(
        settings, GPUS, facts, 256, 1000, num_8bit_moments=2 * 10**9
    )
    plain = plan.model_copy(update={"optim": "adamw", "num_8bit_moments": 0})
    assert model_states_bytes(plan) == pytest.approx(
        2e9 * bytes_per_parameter + model_states_bytes(plain) / 3
    )
    saved = 2 * 10**9 * (6 - 1 / 32)
    assert checkpoint_bytes(plan, 10**9) == checkpoint_bytes(plain, 10**9) - saved
    (told,) = [decision.why for decision in decisions if decision.setting == "optim"]
    assert "2,000.0 M parameters, of 3,000.0 M" in told
    assert "11.9 GB less" in told
    assert "On CPUs" not in told


def test_states_that_no_gpu_has_room_for_are_told():
    plan = plan_of(ConfigureSettings(precision="bf16", zero_stage=1), GPUS, 40 * 10**9)
    assert memory_warnings(plan, GPUS) == [
        "hardware.gpu_memory_gb: 80, but weights, gradients and Adam's states alone"
        " take 220.0 GB on each rank"
    ]
    assert memory_warnings(plan, CPU) == []
    small = plan_of(ConfigureSettings(precision="bf16", zero_stage=1), GPUS, 10**9)
    assert memory_warnings(small, GPUS) == []


def test_adamw_in_8_bits_that_would_have_32_is_refused():
    with pytest.raises(RetuneError, match="no trained matrix beside the embeddings"):
        plan_of(ConfigureSettings(optim="adamw_8bit"))


def test_adamw_in_8_bits_without_bitsandbytes_is_refused(monkeypatch):
    monkeypatch.setattr(bitsandbytes, "find_spec", lambda name: None)
    with pytest.raises(RetuneError, match=r"pip install 'retune\[bitsandbytes\]'"):
        bitsandbytes.check_bitsandbytes("configure.optim: adamw_8bit")


def test_without_zero_all_states_are_on_each_rank():
    plan = plan_of(ConfigureSettings(precision="fp32", zero_stage=0), GPUS, 1)
    assert model_states_bytes(plan) == 16


@pytest.mark.parametrize(
    ("stage", "bytes_per_parameter"), [(2, 2 + (4 + 12) / 8), (3, (2 + 4 + 12) / 8)]
)
def test_gradients_that_add_up_in_fp32_take_their_bytes(stage, bytes_per_parameter):
    assert bytes_of(stage, micro_batch_size=1) == bytes_per_parameter


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("offload", ["none", "cpu"])
def test_the_config_and_the_memory_agree_on_what_adds_up_in_fp32(micro, stage, offload):
    settings = ConfigureSettings(
        precision="bf16",
        zero_stage=stage,
        micro_batch_size=micro,
        offload_optimizer=offload,
    )
    plan = plan_of(settings, GPUS, 1)
    in_fp32 = micro == 1 and stage > 1 and offload == "none"
    assert accumulates_in_fp32(plan) == in_fp32
    assert ("data_types" in deepspeed_config(plan)) == in_fp32
    at_once = plan.model_copy(update={"gradient_accumulation_steps": 1})
    more = model_states_bytes(plan) - model_states_bytes(at_once)
    assert more == (2 / 8 if in_fp32 else 0)


def test_zero_3_is_chosen_where_fp32_gradients_would_not_fit():
    # On two ranks 9 bytes a parameter, 10 with gradients that add up in fp32.
    two = Hardware("cuda", 1, 2, 80.0, None)
    for micro, stage in [(1, 3), (4, 2)]:
        settings = ConfigureSettings(micro_batch_size=micro, global_batch_size=8)
        assert plan_of(settings, two, 5_000_000_000).zero_stage == stage


def test_a_pipeline_and_offloading_leave_less_on_a_rank():
    # 4 stages of 2 ranks: a quarter of weights and gradients, an eighth of the states.
    assert bytes_of(1, pipeline_stages=4) == (8 + 12) / 8
    assert bytes_of(2, ranks=1, offload_optimizer="cpu") == 4
    both = {"offload_optimizer": "cpu", "offload_param": "cpu"}
    assert bytes_of(3, ranks=2, **both) == 1


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


def test_offloading_more_than_a_node_holds_is_refused():
    settings = ConfigureSettings(zero_stage=3, offload_optimizer="cpu")
    small = Hardware("cuda", 1, 8, 80.0, 64.0)
    check_cpu_memory(plan_of(settings, small, 10**9), small)
    with pytest.raises(RetuneError, match=r"hardware.cpu_memory_gb: 64, .* 1,120.0 GB"):
        check_cpu_memory(plan_of(settings, small, 70 * 10**9), small)


@pytest.fixture
def run_here(tmp_path):
    """Return a function that plans a tiny model for so many blocks."""
    base = tmp_path / "base"
    base.mkdir()
    tiny_facts().write(base)
    write_manifest(base)

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
    assert "| zero_stage | `2` |" in (tmp_path / "plan/plan.md").read_text()
    assert reasons.warnings == ()
    assert (
        "all training sequences once are 10.0 steps.\n\n|"
        in (tmp_path / "plan/plan.md").read_text()
    )


def test_a_batch_that_is_more_than_the_data_is_told(run_here, tmp_path, caplog):
    line = run_here(5)
    warning = (
        "configure.global_batch_size: 16 is more than the 5 training blocks: each step"
        " goes over them 3.2 times, whatever finetune.epochs"
    )
    assert line.endswith(f"; {warning}")
    assert warning in caplog.text
    assert f"**{warning}**" in (tmp_path / "plan/plan.md").read_text()
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


@pytest.mark.parametrize(
    ("hardware", "precision", "why"),
    [
        (CPU, "fp32", "each packed document by itself, by PyTorch's kernels"),
        (GPUS, "bf16", "each packed document by itself, by PyTorch's kernels"),
    ],
)
def test_documents_are_computed_by_themselves_where_that_is_exact(
    hardware, precision, why
):
    settings = ConfigureSettings(precision=precision)
    facts = tiny_facts()
    plan, decisions = make_plan(settings, hardware, facts, 256, 100)
    assert plan.attn_implementation == "varlen"
    assert why in {decision.why for decision in decisions}
    other = tiny_facts(has_varlen=False)
    plan, decisions = make_plan(settings, hardware, other, 256, 100)
    assert plan.attn_implementation == "sdpa"
    whys = " ".join(decision.why for decision in decisions)
    assert "varlen was not seen to compute gpt2 models" in whys
    capped = tiny_facts(caps_attention=True)
    plan, decisions = make_plan(settings, hardware, capped, 256, 100)
    assert plan.attn_implementation == "varlen"
    assert "by itself, in plain operations" in " ".join(d.why for d in decisions)


def test_kernels_that_do_not_compute_the_family_are_refused():
    settings = ConfigureSettings(attn_implementation="varlen")
    with pytest.raises(RetuneError, match="varlen was not seen to compute gpt2 models"):
        make_plan(settings, CPU, tiny_facts(has_varlen=False), 256, 100)
    settings = ConfigureSettings(attn_implementation="flash_attention_2")
    with pytest.raises(RetuneError, match="flash_attention_2, but the ranks are CPUs"):
        make_plan(settings, CPU, tiny_facts(), 256, 100)


LLAMA = {"model_type": "llama", "activation": "silu"}
# A version of liger-kernel that is.
WANTED = "0.8.5"


@pytest.mark.parametrize(
    ("settings", "hardware", "facts", "installed", "why"),
    [
        (
            *({}, GPUS, LLAMA, WANTED),
            f"liger-kernel {WANTED} is installed, and has kernels for llama",
        ),
        (
            *({}, GPUS, LLAMA, None),
            "not installed where configure ran: pip install 'retune[kernels]'",
        ),
        (
            *({}, GPUS, LLAMA, "0.6.2"),
            "liger-kernel 0.6.2 is installed, and >=0.8.5,<0.9 is wanted: pip install",
        ),
        ({}, CPU, LLAMA, WANTED, "the kernels are Triton's, for GPUs"),
        ({}, GPUS, {}, WANTED, "not seen to compute gpt2 models as transformers does"),
        ({}, GPUS, {**LLAMA, "activation": "gelu"}, WANTED, "and this one has gelu"),
        (
            *({}, GPUS, {**LLAMA, "activation": None}, WANTED),
            "in llama models, and config.json names none, or more than one",
        ),
        ({}, GPUS, {**LLAMA, "model_type": "mixtral"}, WANTED, "computes experts"),
        ({"torch_compile": True}, GPUS, LLAMA, WANTED, "torch_compile makes kernels"),
        (
            {"activation_checkpointing": "selective"},
            *(GPUS, LLAMA, WANTED, "activation_checkpointing: selective"),
        ),
        ({"use_liger_kernel": False}, GPUS, LLAMA, WANTED, "set in params.yaml"),
    ],
)
def test_liger_kernels_are_used_where_they_compute_the_same(
    settings, hardware, facts, installed, why, install_liger
):
    install_liger(installed)
    settings, facts = ConfigureSettings(**settings), tiny_facts(**facts)
    plan, decisions = make_plan(settings, hardware, facts, 256, 100)
    (decision,) = [d for d in decisions if d.setting == "use_liger_kernel"]
    assert plan.use_liger_kernel is decision.value is ("has kernels for" in why)
    assert why in decision.why


def test_liger_kernels_of_another_version_are_refused(install_liger):
    install_liger("0.9.0")
    settings = ConfigureSettings(use_liger_kernel=True)
    with pytest.raises(RetuneError, match=r"true, but liger-kernel 0.9.0 is installed"):
        make_plan(settings, GPUS, tiny_facts(**LLAMA), 256, 100)


def test_layers_with_liger_kernels_are_not_compiled_by_auto():
    long_pass = 2_000_000
    for liger, is_compiled in ((True, False), (False, True)):
        settings = ConfigureSettings(use_liger_kernel=liger, zero_stage=2)
        facts = tiny_facts(**LLAMA, num_parameters=10**9)
        plan, decisions = make_plan(settings, GPUS, facts, 1024, long_pass)
        assert plan.torch_compile is is_compiled
        (why,) = [d.why for d in decisions if d.setting == "torch_compile"]
        assert why.startswith("use_liger_kernel: true") is liger


def test_liger_kernels_may_be_asked_for_where_they_are_not_here():
    settings = ConfigureSettings(use_liger_kernel=True)
    for family in ("llama", "mixtral"):
        facts = tiny_facts(**{**LLAMA, "model_type": family})
        plan, _ = make_plan(settings, GPUS, facts, 256, 100)
        assert plan.use_liger_kernel
    for changed, told in (
        ({}, "not seen to compute gpt2 models"),
        ({**LLAMA, "activation": "gelu"}, "compute silu in llama models, and this one"),
    ):
        with pytest.raises(RetuneError, match=f"use_liger_kernel: true, but .*{told}"):
            make_plan(settings, GPUS, tiny_facts(**changed), 256, 100)
    settings = settings.model_copy(update={"activation_checkpointing": "selective"})
    with pytest.raises(RetuneError, match="selective, .* gradients would be wrong"):
        make_plan(settings, GPUS, tiny_facts(**LLAMA), 256, 100)


def test_the_loss_is_chunked_where_the_output_head_is_known():
    unknown = tiny_facts(output_head=None)
    for settings, facts, expected in (
        (ConfigureSettings(), tiny_facts(), True),
        (ConfigureSettings(), unknown, False),
        (ConfigureSettings(precision="fp16"), tiny_facts(), False),
        (ConfigureSettings(chunked_cross_entropy=False), tiny_facts(), False),
    ):
        plan, _ = make_plan(settings, GPUS, facts, 256, 100)
        assert plan.chunked_cross_entropy is expected
    settings = ConfigureSettings(chunked_cross_entropy=True)
    with pytest.raises(RetuneError, match="chunked_cross_entropy: true, but the model"):
        make_plan(settings, CPU, unknown, 256, 100)
