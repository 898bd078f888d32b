"""Bytes of a plan: weights, gradients and states, and what they let be chosen."""

import pytest

from chosen_plans import CPU, GPUS, plan_of
from retune.errors import RetuneError
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.explanation import frozen_text
from retune.planning.hardware import Hardware
from retune.planning.memory import (
    accumulates_in_fp32,
    checkpoint_bytes,
    live_bytes,
    model_states_bytes,
    offloaded_bytes,
)
from retune.planning.memory_prediction import predict_memory
from retune.planning.strategy import make_plan
from retune.settings import ConfigureSettings
from retune.steps.configure import check_cpu_memory, memory_warnings, warnings_4bit
from tiny_facts import tiny_facts


def bytes_of(stage, ranks=8, **strategy):
    """Return the bytes of model states of a bf16 model with one parameter."""
    options = {"global_batch_size": 16, "micro_batch_size": 2, **strategy}
    settings = ConfigureSettings(precision="bf16", zero_stage=stage, **options)
    return model_states_bytes(
        plan_of(settings, Hardware("cuda", 1, ranks, 80.0, None), num_parameters=1)
    )


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
    assert model_states_bytes(both) == 0
    assert offloaded_bytes(both, "cpu") == 8_030_261_248 * 2 + 41_943_040 * 20
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
    memory = predict_memory(plan)
    assert memory_warnings(plan, memory, GPUS) == [
        "hardware.gpu_memory_gb: 80, but about 221.0 GB are predicted on each rank, in"
        " the backward pass (weights 80.0, gradients 79.9, optimizer states 60.0,"
        " context 0.7, DeepSpeed's buffers 0.2, temporary 0.1, workspaces of cuBLAS"
        " 0.1)"
    ]
    on_cpus = plan.model_copy(update={"accelerator": "cpu"})
    assert memory_warnings(on_cpus, memory, GPUS) == []
    assert memory_warnings(plan, memory, CPU) == []
    small = plan_of(ConfigureSettings(precision="bf16", zero_stage=1), GPUS, 10**9)
    assert memory_warnings(small, predict_memory(small), GPUS) == []


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
    # Gradients go to main memory, too.
    assert bytes_of(2, ranks=1, offload_optimizer="cpu") == 2
    both = {"offload_optimizer": "cpu", "offload_param": "cpu"}
    assert bytes_of(3, ranks=2, **both) == 0


def test_offloading_more_than_a_node_holds_is_refused():
    settings = ConfigureSettings(zero_stage=3, offload_optimizer="cpu")
    small = Hardware("cuda", 1, 8, 80.0, 64.0)
    check_cpu_memory(plan_of(settings, small, 10**9), small)
    with pytest.raises(RetuneError, match=r"hardware.cpu_memory_gb: 64, .* 1,260.0 GB"):
        check_cpu_memory(plan_of(settings, small, 70 * 10**9), small)
