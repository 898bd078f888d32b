"""DeepSpeed configs of the user's: what is refused, and how it is told."""

from typing import Any

import pytest

from given_configs import (
    DOCUMENTATION,
    GPUS,
    MICRO,
    STEPS,
    ZERO,
    at_the_start,
    refusal,
)
from lint_cases import CLASSIC
from retune.artifacts.publishing import write_json
from retune.errors import RetuneError
from retune.linting.known_keys import TOP
from retune.linting.removed_keys import RENAMED, WITHOUT_EFFECT
from retune.linting.value import Section, Value
from retune.planning.given_config import read_given
from retune.planning.given_keys import KEPT, PLANNED, refused_keys
from retune.settings import ConfigureSettings
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources


def test_the_classic_config_is_refused_with_each_of_its_faults(run_by):
    lines = refusal(run_by, CLASSIC)
    keys = ["train_batch_size", "offload_param", "reduce_bucket_size"]
    assert [any(key in line for line in lines) for key in keys] == [True] * 3
    shown = "\n".join(lines).replace("ds.json", "classic.json")
    assert f"```text\n{shown}\n```" in DOCUMENTATION.read_text()


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
