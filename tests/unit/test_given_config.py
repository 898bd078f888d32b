"""DeepSpeed configs of the user's: what is taken into the plan, kept and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from lint_cases import CLASSIC
from lint_good_configs import OF_DEEPSPEED, OF_TRANSFORMERS
from plans import read_page
from retune.artifacts.plan import Plan, Reasons
from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from retune.linting.known_keys import TOP
from retune.linting.removed_keys import RENAMED, WITHOUT_EFFECT
from retune.linting.value import Section, Value
from retune.planning.given_config import read_given
from retune.planning.given_keys import KEPT, PLANNED, refused_keys
from retune.planning.given_plan import take_given
from retune.settings import ConfigureSettings, HardwareSettings
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources
from retune.steps.configure import run
from tiny_facts import write_tiny_base
from token_files import make_token_metrics

DOCUMENTATION = Path(__file__).parents[2] / "docs/deepspeed-config.md"
HIDDEN = 16
GPUS = {"accelerator": "cuda", "ranks_per_node": 8}


@pytest.fixture
def run_by(tmp_path, monkeypatch):
    """Return a function that plans a tiny model by a config; it returns the line."""
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "base"
    write_tiny_base(base, n_embd=HIDDEN)
    make_token_metrics(160, 128).write(tmp_path / "tokens.json")

    def run_it(config, hardware=None, **settings):
        if config is not None:
            write_json(tmp_path / "ds.json", config)
            settings["deepspeed_config"] = "ds.json"
        return run(
            ConfigureSettings(**settings),
            HardwareSettings(**hardware or {}),
            *(base, tmp_path / "tokens.json", tmp_path / "plan"),
        )

    return run_it


@pytest.fixture
def written(tmp_path, run_by):
    """Return a function that plans, and returns the plan and the DeepSpeed config."""

    def plan_it(config, hardware=None, **settings):
        run_by(config, hardware, **settings)
        files = tmp_path / "plan/plan.json", tmp_path / "plan/deepspeed.json"
        return Plan.read_verified(*files), read_json(files[1])

    return plan_it


def refusal(run_by, config, hardware=None, **settings):
    """Return the lines with which a config is refused."""
    with pytest.raises(RetuneError) as error:
        run_by(config, hardware, **settings)
    return str(error.value).splitlines()


def test_the_classic_config_is_refused_with_each_of_its_faults(run_by):
    lines = refusal(run_by, CLASSIC)
    keys = ["train_batch_size", "offload_param", "reduce_bucket_size"]
    assert [any(key in line for line in lines) for key in keys] == [True] * 3
    shown = "\n".join(lines).replace("ds.json", "classic.json")
    assert f"```text\n{shown}\n```" in DOCUMENTATION.read_text()


def at_the_start(config, file, **sections):
    """Return the lines with which a run is refused before any step; none if it is not.

    Args:
        config: The config.
        file: Where to write it.
        sections: Sections of params.yaml.
    """
    write_json(file, config)
    params = {"dataset": "builtin", "model": "builtin", **sections}
    configure = {"deepspeed_config": str(file), **params.get("configure", {})}
    try:
        find_local_sources(read_params({**params, "configure": configure}))
    except RetuneError as error:
        return str(error).splitlines()
    return []


def test_it_is_refused_before_any_step(run_by, tmp_path):
    lines = at_the_start(CLASSIC, tmp_path / "ds.json")
    told = [line.replace(f"{tmp_path}/", "") for line in lines]
    assert told == refusal(run_by, CLASSIC)


@pytest.mark.parametrize(
    ("config", "hardware", "told"),
    [
        # Whether the GPUs compute bf16, which would not go with stage 0, is not known.
        ({"zero_optimization": {"stage": 0}}, GPUS, ""),
        ({"zero_optimization": {"stage": 0}, "bf16": {"enabled": True}}, GPUS, "bf16"),
        ({"train_batch_size": 3}, {"ranks_per_node": "auto"}, ""),
        ({"train_batch_size": 3}, {}, "train_batch_size: 3 / 2 GPUs / 1 is rounded"),
        (
            {"zero_optimization": {"offload_optimizer": {"device": "nvme"}}},
            {},
            "configure.offload_optimizer: nvme needs hardware.nvme_path",
        ),
    ],
)
def test_machines_that_are_not_known_are_no_fault(tmp_path, config, hardware, told):
    lines = at_the_start(config, tmp_path / "ds.json", hardware=hardware)
    assert len(lines) == bool(told)
    assert told in " ".join(lines)


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


TOTAL, MICRO = "train_batch_size", "train_micro_batch_size_per_gpu"
STEPS, ZERO = "gradient_accumulation_steps", "zero_optimization"


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


@pytest.mark.parametrize(
    ("config", "settings", "told"),
    [
        (
            {ZERO: {"stage": 3}},
            {"zero_stage": 2},
            "ds.json: zero_optimization.stage: it makes zero_stage 3, but"
            " configure.zero_stage is 2; keep one of them",
        ),
        (
            {"bf16": {"enabled": True}},
            {"precision": "fp32"},
            "ds.json: bf16.enabled: it makes precision bf16, but configure.precision is"
            " fp32; keep one of them",
        ),
        (
            {MICRO: 1, STEPS: 4},
            {"global_batch_size": 32},
            "ds.json: gradient_accumulation_steps: it makes global_batch_size 8, but"
            " configure.global_batch_size is 32; keep one of them",
        ),
        (
            None,
            {"gradient_clipping": 2.0, "overrides": {"gradient_clipping": 0.5}},
            "configure.overrides.gradient_clipping: it makes gradient_clipping 0.5, but"
            " configure.gradient_clipping is 2.0; keep one of them",
        ),
        (
            {"bf16": {"enabled": False}},
            {"precision": "bf16"},
            "ds.json: bf16.enabled: it makes precision fp32, but configure.precision is"
            " bf16; keep one of them",
        ),
    ],
)
def test_what_params_yaml_says_otherwise_is_refused(run_by, config, settings, told):
    assert refusal(run_by, config, **settings) == [told]


def test_a_default_that_is_written_is_a_contradiction_before_any_step(tmp_path):
    file = tmp_path / "ds.json"
    write_json(file, {"gradient_clipping": 0.5, "scheduler": {"type": "WarmupLR"}})
    params = {
        **{"dataset": "builtin", "model": "builtin"},
        "configure": {"deepspeed_config": str(file), "gradient_clipping": 1.0},
    }
    with pytest.raises(RetuneError) as error:
        find_local_sources(read_params(params))
    assert str(error.value).splitlines() == [
        f"{file}: gradient_clipping: it makes gradient_clipping 0.5, but"
        " configure.gradient_clipping is 1.0; keep one of them",
        f"{file}: scheduler.type: WarmupLR, but finetune.lr_scheduler_type is cosine;"
        " write WarmupLR there, or delete scheduler",
    ]
    del params["configure"]["gradient_clipping"]
    params["finetune"] = {"lr_scheduler_type": "WarmupLR"}
    assert find_local_sources(read_params(params))["configure"] == [str(file)]


@pytest.mark.parametrize(
    ("config", "settings", "told"),
    [
        ({ZERO: {"stage": 4}}, {}, "ds.json: zero_optimization.stage: DeepSpeed ref"),
        ({"foo": 1}, {}, "ds.json: foo: unknown: DeepSpeed ignores it silently; del"),
        (
            {STEPS: 3},
            {},
            "configure.global_batch_size (with ds.json): 16 / 2 GPUs / 3 is rounded",
        ),
        (
            {"optimizer": {"type": "AdamW", "params": {"lr": 3e-5}}},
            {},
            "ds.json: optimizer.params.lr: it is decided by finetune.learning_rate;"
            ' write "auto" here, and 3e-05 there',
        ),
        (
            {"optimizer": {"type": "AdamW", "legacy_fusion": True}},
            {},
            "ds.json: optimizer.legacy_fusion: finetune was not made to train with it",
        ),
        ({"optimizer": {"type": "Lamb"}}, {}, "ds.json: optimizer.type: Lamb, but ret"),
        (
            {"scheduler": {"type": "WarmupCosineLR"}},
            {},
            "ds.json: scheduler.type: WarmupCosineLR is none of retune's schedules;"
            " delete scheduler, and write finetune.lr_scheduler_type: cosine",
        ),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 100}}},
            {},
            "ds.json: scheduler.params.warmup_num_steps: it is decided by"
            ' finetune.warmup_steps; write "auto" here, and 100 there',
        ),
        (
            {"tensorboard": {"enabled": True}},
            {},
            "ds.json: tensorboard: DeepSpeed would record the loss times a factor of",
        ),
        (
            {
                ZERO: {
                    "stage": 3,
                    "offload_param": {"device": "nvme", "nvme_path": "/x"},
                }
            },
            {},
            "ds.json: zero_optimization.offload_param.nvme_path: the folder is hardw",
        ),
        (
            {"data_types": {"grad_accum_dtype": "fp32"}, "bf16": {"enabled": True}},
            {"zero_stage": 1},
            "ds.json: data_types.grad_accum_dtype: fp32, but gradients in bf16 are ad",
        ),
        (
            {ZERO: {"stage": 2}},
            {"pipeline_stages": 2},
            "configure.pipeline_stages: 2 needs zero_stage: 1, not 2 (ds.json:"
            " zero_optimization.stage)",
        ),
        (
            {"fp16": {"enabled": True}},
            {},
            "ds.json: fp16.enabled: DeepSpeed has no fp16 on CPUs and refuses it",
        ),
        (
            {
                "bf16": {"enabled": True, "bf16_master_weights_and_grads": True},
                ZERO: {"offload_optimizer": {"device": "cpu"}},
            },
            {},
            "ds.json: bf16.bf16_master_weights_and_grads: the plan knows it with",
        ),
    ],
)
def test_what_would_not_be_trained_by_is_refused(run_by, config, settings, told):
    (line,) = refusal(run_by, config, **settings)
    assert line.startswith(told)


def leaves_of(section: Section, prefix: str = "") -> list[tuple[str, Value]]:
    """Return all keys that DeepSpeed knows, and what each takes."""
    found = []
    for name, known in section.keys.items():
        if isinstance(known, Section):
            found += leaves_of(known, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", known))
    return found


def another(known: Value) -> Any:
    """Return a value that is not the default; None if the linter refuses all."""
    values = [not known.default, 3, 0.5, 2, "x", ["x"], *known.choices]
    return next((v for v in values if known.accepts(v) and v != known.default), None)


@pytest.mark.parametrize(
    ("key", "known"), leaves_of(TOP), ids=[key for key, _ in leaves_of(TOP)]
)
def test_no_key_that_deepspeed_knows_is_ignored(key, known):
    if key in PLANNED or key in KEPT or key.startswith("bfloat16."):
        return
    value, (*parents, name) = another(known), key.split(".")
    # Renamed keys count by their new names.
    if (
        value is None
        or (name == "enabled" and not value)
        or key in (*RENAMED, *WITHOUT_EFFECT)
    ):
        return
    overrides: dict[str, Any] = {}
    section = overrides
    for parent in parents:
        section = section.setdefault(parent, {})
    section[name] = value
    if parents and name != "enabled" and "enabled" in TOP.keys[parents[0]].keys:
        overrides[parents[0]].setdefault("enabled", True)
    given = read_given(ConfigureSettings(overrides=overrides))
    assert given is not None
    found = [each.key for each in refused_keys(given)]
    assert any(key.startswith(each) for each in found)


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "configure.deepspeed_config: there is no file ds.json"),
        ("", "configure.deepspeed_config: ds.json is empty: a DeepSpeed config is {.."),
        ("[1]", "configure.deepspeed_config: ds.json has a list at the top"),
        ('{"a": True}', "configure.deepspeed_config: ds.json, line 1, column 7: True"),
        ("[" * 100_000, "configure.deepspeed_config: ds.json is nested too deeply"),
    ],
)
def test_a_file_that_is_no_config_is_told_at_the_start(
    tmp_path, monkeypatch, text, told
):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "ds.json").write_text(text)
    params = {"dataset": "builtin", "model": "builtin"}
    params = read_params({**params, "configure": {"deepspeed_config": "ds.json"}})
    with pytest.raises(RetuneError) as error:
        find_local_sources(params)
    assert str(error.value).startswith(told)


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


IN_FP32 = {"data_types": {"grad_accum_dtype": "fp32"}, "bf16": {"enabled": True}}
STAGE_1 = {ZERO: {"stage": 1}}


@pytest.mark.parametrize(
    ("config", "settings", "told"),
    [
        (IN_FP32 | STAGE_1, {}, "with zero_stage 1 and offload_optimizer none"),
        (IN_FP32, {"zero_stage": 1}, "with zero_stage 1 and offload_optimizer none"),
        (IN_FP32, {"offload_optimizer": "cpu"}, "and offload_optimizer cpu"),
        (IN_FP32, {}, ""),
        ({"data_types": IN_FP32["data_types"]} | STAGE_1, {}, ""),
    ],
)
def test_a_type_that_gradients_cannot_be_added_up_in_is_told_before_any_step(
    tmp_path, config, settings, told
):
    sections = {"configure": settings, "hardware": GPUS}
    lines = at_the_start(config, tmp_path / "ds.json", **sections)
    assert len(lines) == bool(told)
    assert all("data_types.grad_accum_dtype: fp32, but" in line for line in lines)
    assert told in " ".join(lines)


def test_all_findings_in_a_key_are_told(tmp_path):
    offload = {"nvme_path": "/x", "ratio": 0.5}
    config = {ZERO: {"stage": 2, "offload_optimizer": {"device": "cpu", **offload}}}
    lines = at_the_start(config, tmp_path / "ds.json", hardware=GPUS)
    of_retune, of_deepspeed = [line for line in lines if "optimizer.ratio" in line]
    assert "the plan counts on all of the optimizer being offloaded" in of_retune
    assert "DeepSpeed refuses a part below 1 at stage 2" in of_deepspeed


@pytest.mark.parametrize("value", [None, [1], "2"])
def test_what_stands_in_the_place_of_a_section_is_a_single_fault(tmp_path, value):
    stage_2 = {ZERO: {"stage": 2}, "bf16": {"enabled": True}}
    settings = {"overrides": {ZERO: value}, "zero_stage": 2}
    sections = {"configure": settings, "hardware": GPUS}
    (line,) = at_the_start(stage_2, tmp_path / "ds.json", **sections)
    assert ZERO in line
    assert "no object" in line
