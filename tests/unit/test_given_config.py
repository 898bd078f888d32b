"""DeepSpeed configs of the user's: what is taken into the plan, and kept."""

import json

import pytest

from given_configs import (
    DOCUMENTATION,
    GPUS,
    HIDDEN,
    MICRO,
    STEPS,
    TOTAL,
    ZERO,
    refusal,
)
from lint_cases import CLASSIC
from lint_good_configs import OF_DEEPSPEED, OF_TRANSFORMERS
from plans import read_page
from retune.artifacts.plan import Reasons
from retune.artifacts.publishing import read_json, write_json
from retune.planning.complete_config import put
from retune.planning.given_keys import KEPT, PLANNED
from retune.planning.given_plan import take_given
from retune.settings import ConfigureSettings, HardwareSettings


def test_the_documentation_names_every_key_that_is_kept():
    text = DOCUMENTATION.read_text()
    names = {key.rpartition(".")[2] for key in (*KEPT, *PLANNED)} - {"enabled"}
    assert [name for name in names if name not in text] == []


def test_it_is_taken_once_it_is_mended(written, tmp_path):
    zero = {**CLASSIC["zero_optimization"], "stage": 3, "reduce_bucket_size": 5e7}
    plan, config = written(
        {**CLASSIC, "train_batch_size": 8, "zero_optimization": zero}
    )
    assert (plan.zero_stage, plan.offload_param, plan.precision) == (3, "cpu", "fp32")
    assert config["fp16"] == {"enabled": False}
    reasons = Reasons.read_verified(tmp_path / "plan/reasons.json")
    why = {each.setting: each.why for each in reasons.decisions}
    assert why["fp16.enabled"] == '"auto" in ds.json: follows precision'
    assert why["global_batch_size"] == "set in ds.json (train_batch_size)"


def test_overrides_are_over_the_file_which_is_over_the_rest(written, tmp_path):
    plan, config = written(
        {
            "gradient_clipping": 0.5,
            "zero_optimization": {"stage": 3, "reduce_bucket_size": 1e6},
        },
        overrides={"zero_optimization": {"stage": 1, "reduce_bucket_size": "2e3"}},
    )
    assert (plan.zero_stage, plan.gradient_clipping) == (1, 0.5)
    assert config["gradient_clipping"] == 0.5
    assert config["zero_optimization"] == {
        "stage": 1,
        "contiguous_gradients": True,
        "overlap_comm": True,
        "reduce_bucket_size": 2000,
        "allgather_bucket_size": 50_000_000,
    }
    page = read_page(tmp_path / "plan")
    in_overrides = "set in configure.overrides"
    assert f"| zero_stage | `1` | {in_overrides} (zero_optimization.stage) |" in page
    row = f"| zero_optimization.reduce_bucket_size | `2000` | {in_overrides} |"
    assert row in page
    assert "| gradient_clipping | `0.5` | set in ds.json (gradient_clipping) |" in page


def test_overrides_alone_are_over_what_configure_writes(run_by, tmp_path):
    line = run_by(None, overrides={"zero_optimization": {"stage": 3}})
    assert line == (
        "ZeRO-3, fp32 on 2 CPU ranks: batch 16 = 8 x 1 x 2; by configure.overrides"
    )
    zero = read_json(tmp_path / "plan/deepspeed.json")["zero_optimization"]
    assert zero["stage3_prefetch_bucket_size"] == 50_000_000


@pytest.mark.parametrize(
    ("config", "settings", "planned"),
    [
        ({TOTAL: 32}, {}, {"global_batch_size": 32}),
        ({TOTAL: 8, MICRO: 2, STEPS: 2}, {}, {"micro_batch_size": 2}),
        ({MICRO: 2, STEPS: 3}, {}, {"global_batch_size": 12}),
        ({TOTAL: 24, STEPS: 3}, {}, {"micro_batch_size": 4}),
        ({STEPS: 4}, {}, {"global_batch_size": 16, "micro_batch_size": 2}),
        ({STEPS: 4}, {"global_batch_size": 8}, {"micro_batch_size": 1}),
        ({MICRO: "auto", TOTAL: "auto"}, {"micro_batch_size": 1}, {STEPS: 8}),
        ({"bf16": {"enabled": True}}, {}, {"precision": "bf16"}),
        ({"bfloat16": {"enabled": True}}, {}, {"precision": "bf16"}),
        ({"bf16": {"enabled": "auto"}}, {"precision": "bf16"}, {"precision": "bf16"}),
        ({"bf16": {"enabled": False}}, {"zero_stage": 1}, {"precision": "fp32"}),
        ({ZERO: {"stage": "auto"}}, {"zero_stage": 1}, {"zero_stage": 1}),
        ({ZERO: True}, {}, {"zero_stage": 1}),
        ({ZERO: {"cpu_offload": True, "stage": 2}}, {}, {"offload_optimizer": "cpu"}),
        ({ZERO: {"offload_param": {"device": "cpu"}}}, {}, {"zero_stage": 3}),
        (
            {ZERO: {"offload_optimizer": {"device": "auto", "pin_memory": False}}},
            {"offload_optimizer": "cpu"},
            {"offload_optimizer": "cpu"},
        ),
        (
            {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "bfloat16"}},
            {"micro_batch_size": 1},
            {"grad_accum_dtype": "bf16"},
        ),
        ({"scheduler": {"type": "WarmupLR"}}, {}, {"lr_scheduler_type": "WarmupLR"}),
        ({"bf16": None, ZERO: {"offload_param": None}}, {}, {"precision": "fp32"}),
    ],
)
def test_what_the_plan_knows_is_taken_into_it(written, config, settings, planned):
    plan, deepspeed = written(config, **settings)
    assert {key: getattr(plan, key) for key in planned} == planned
    product = plan.micro_batch_size * plan.gradient_accumulation_steps * 2
    assert plan.global_batch_size == product == deepspeed[TOTAL]
    assert deepspeed[ZERO]["stage"] == plan.zero_stage
    assert "auto" not in json.dumps(deepspeed)
    assert "null" not in json.dumps(deepspeed)


def test_a_precision_that_is_off_is_not_what_auto_takes(written):
    plan, _ = written({"bf16": {"enabled": False}}, GPUS)
    assert plan.precision == "fp32"
    plan, _ = written({"fp16": {"enabled": False}}, GPUS)
    assert plan.precision == "bf16"


def test_a_section_that_is_off_says_nothing(written):
    off = {"enabled": False}
    sections = {
        "tensorboard": {**off, "output_path": "logs"},
        "flops_profiler": {**off, "profile_step": 5},
        "torch_autocast": {**off, "dtype": "bf16"},
        "activation_checkpointing": {"partition_activations": False},
    }
    _, config = written(sections)
    assert not config.keys() & sections.keys()


def test_auto_of_the_trainer_is_filled_in(written, tmp_path):
    plan, config = written(OF_TRANSFORMERS["ds_config_zero3"], GPUS)
    zero = config[ZERO]
    assert (plan.precision, plan.lr_scheduler_type) == ("bf16", "WarmupDecayLR")
    assert zero["reduce_bucket_size"] == HIDDEN**2
    assert zero["stage3_prefetch_bucket_size"] == int(0.9 * HIDDEN**2)
    assert zero["stage3_param_persistence_threshold"] == 10 * HIDDEN
    assert zero["offload_param"] == {"device": "cpu", "pin_memory": True}
    assert not config.keys() & {"optimizer", "scheduler"}
    assert "auto" not in json.dumps(config)
    page = read_page(tmp_path / "plan")
    told = '`"auto"` | "auto" in ds.json: follows finetune.learning_rate |'
    assert f"| optimizer.params.lr | {told}" in page


def test_a_warning_is_told_and_does_not_stop(run_by, tmp_path, caplog):
    line = run_by({"wall_clock_breakdown": True, "_note": "mine"})
    warnings = [
        "ds.json: wall_clock_breakdown: DeepSpeed's log, which says it, is off; write"
        ' "log_level": "info" as well',
        "ds.json: _note: unknown: DeepSpeed ignores it silently; delete it",
    ]
    reasons = Reasons.read_verified(tmp_path / "plan/reasons.json")
    assert set(reasons.warnings) == set(warnings)
    for warning in warnings:
        assert f"; {warning}" in line
        assert warning in caplog.text


def test_what_is_said_of_a_timer_that_is_off_is_warned_of(run_by):
    timer = {"synchronized": True}
    line = run_by({"timers": {"throughput": timer}})
    assert "timers.throughput.synchronized: the throughput timer is off" in line
    line = run_by({"timers": {"throughput": {**timer, "enabled": True}}})
    assert "timer" not in line


@pytest.mark.parametrize(
    ("key", "takes"),
    [
        ("timers.throughput.enabled", "true or false"),
        (f"{ZERO}.overlap_comm", "true or false"),
        (f"{ZERO}.sub_group_size", "an integer at least 0"),
        ("bf16.bf16_optimizer_states", "true or false"),
    ],
)
def test_an_auto_that_nothing_fills_in_is_refused(run_by, key, takes):
    config = {}
    put(config, key, "auto")
    assert refusal(run_by, config) == [
        f'ds.json: {key}: "auto": nothing fills it in; write {takes}, or delete it'
    ]

    config = {"wall_clock_breakdown": "auto"}
    assert refusal(run_by, config) == [
        'ds.json: wall_clock_breakdown: DeepSpeed refuses the text "auto" at the start;'
        " write true or false"
    ]


TAKEN = (
    *("zero tutorial, stage 1", "zero tutorial, stage 2", "null"),
    *("ds_config_zero2", "ds_config_zero3", "without an optimizer"),
)


@pytest.mark.parametrize("name", [*OF_DEEPSPEED, *OF_TRANSFORMERS])
def test_any_config_is_taken_or_refused_key_by_key(run_by, name):
    config = {**OF_DEEPSPEED, **OF_TRANSFORMERS}[name]
    if name in TAKEN:
        assert "by ds.json" in run_by(config, GPUS)
        return
    assert all("ds.json" in line for line in refusal(run_by, config, GPUS))


def test_equal_numbers_are_one_setting():
    def spelled(size):
        return ConfigureSettings(overrides={ZERO: {"reduce_bucket_size": size}})

    assert spelled("2e8") == spelled(2e8) == spelled(200_000_000)
    assert spelled("2e8").model_dump_json() == spelled(2e8).model_dump_json()


def test_overrides_that_are_commented_out_are_none():
    assert ConfigureSettings(overrides=None).overrides == {}


def test_a_key_by_another_name_is_told_of_what_gives_it(written, tmp_path):
    written(
        {ZERO: {"stage": 3, "prefetch_bucket_size": 1000}},
        overrides={ZERO: {"reduce_bucket_size": 2000}},
    )
    page = read_page(tmp_path / "plan")
    assert f"| {ZERO}.stage3_prefetch_bucket_size | `1000` | set in ds.json |" in page


@pytest.mark.parametrize("key", ["offload_optimizer", "offload_param"])
def test_what_a_whole_config_does_not_offload_is_not_offloaded(run_by, tmp_path, key):
    write_json(tmp_path / "ds.json", {"zero_optimization": {"stage": 2}})
    by_file = ConfigureSettings(deepspeed_config="ds.json")
    assert getattr(take_given(by_file, HardwareSettings()).settings, key) == "none"
    # Single keys leave the rest to the planner.
    by_key = ConfigureSettings(overrides={"zero_optimization": {"stage": 3}})
    assert getattr(take_given(by_key, HardwareSettings()).settings, key) == "auto"


PINNED = {ZERO: {"stage": 2, "offload_optimizer": {"pin_memory": True}}}


def test_a_section_that_offloads_nothing_is_told(run_by, written, tmp_path):
    told = (
        f'ds.json: {ZERO}.offload_optimizer: without "device" nothing is offloaded;'
        ' write "device": "cpu" in it, or delete it'
    )
    assert told in run_by(PINNED)
    key = f"{ZERO}.offload_optimizer.pin_memory"
    page = read_page(tmp_path / "plan")
    assert f"| {key} | `true` | set in ds.json: without effect here |" in page
    _, config = written(PINNED)
    assert "offload_optimizer" not in config[ZERO]


@pytest.mark.parametrize("stage", [1, 3])
def test_a_section_is_completed_by_where_the_settings_offload(run_by, stage):
    overrides = {ZERO: {"offload_optimizer": {"pin_memory": True}}}
    settings = {"zero_stage": stage, "offload_optimizer": "cpu"}
    assert "without" not in run_by(None, overrides=overrides, **settings)
    assert "without" not in str(
        take_given(ConfigureSettings(overrides=overrides), HardwareSettings()).warnings
    )
