"""`retune.linting` and `python -m retune lint-config`, without DeepSpeed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lint_cases import CASES, Case, zero
from lint_good_configs import GOOD
from retune.cli.main import main
from retune.linting.finding import Training
from retune.linting.lint import lint

# The config of the classic DeepSpeed tutorial.
CLASSIC = {
    "train_batch_size": 4,
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 4,
    "fp16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 2,
        "offload_param": {"device": "cpu", "pin_memory": True},
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": 5e8,
        "allgather_bucket_size": 5e8,
    },
}
DOCUMENTATION = Path(__file__).parents[2] / "docs/training.md"


def of(case: Case):
    on = "cpu" if case.gpus == 1 else "cuda"
    training = Training(case.gpus, on, client_optimizer=case.client)
    return lint(case.config(), training)


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{at}-{case.key}" for at, case in enumerate(CASES)]
)
def test_one_fault_is_one_finding(case):
    found = of(case)
    assert [(one.severity, one.key) for one in found] == [(case.severity, case.key)]
    assert found[0].happens
    assert found[0].mend


@pytest.mark.parametrize("name", GOOD)
def test_a_good_config_passes_without_a_word(name):
    assert lint(GOOD[name].config, GOOD[name].training) == []


def test_the_classic_config(tmp_path, capsys):
    file = tmp_path / "ds_config.json"
    file.write_text(json.dumps(CLASSIC))
    assert main(["lint-config", str(file), "--gpus", "2"]) == 1
    shown = capsys.readouterr().out
    assert f"```text\n{shown}```" in DOCUMENTATION.read_text()
    faults = [
        "train_batch_size",
        "fp16.enabled",
        "zero_optimization.offload_param",
        "zero_optimization.reduce_bucket_size",
    ]
    assert [found.key for found in lint(CLASSIC, Training(2))] == faults


def test_its_bucket_is_larger_than_the_model():
    (bucket,) = (
        found
        for found in lint(CLASSIC, Training(2, num_parameters=124e6))
        if found.severity == "warning"
    )
    assert "for 124,000,000 parameters" in bucket.happens


@pytest.mark.parametrize(
    ("config", "key", "mend"),
    [
        ({"gradient_acumulation_steps": 4}, "gradient_acumulation_steps", "steps"),
        ({"offload_optimizer": {}}, "offload_optimizer", "zero_optimization.offload_o"),
        ({"stage3_max_live_parameter": 1}, "stage3_max_live_parameter", "delete it"),
    ],
)
def test_the_nearest_known_key_is_suggested(config, key, mend):
    batch = {"train_micro_batch_size_per_gpu": 1}
    (found,) = lint(batch | config, Training(1))
    assert found.key == key
    assert mend in found.mend


def test_transformers_does_not_fill_in_every_auto():
    good = GOOD["ds_config_zero3"]
    zero = good.config["zero_optimization"] | {"sub_group_size": "auto"}
    config = good.config | {
        "zero_optimization": zero,
        "communication_data_type": "auto",
    }
    found = lint(config, good.training)
    assert [(one.severity, one.key) for one in found] == [
        ("error", "communication_data_type"),
        ("warning", "zero_optimization.sub_group_size"),
    ]
    # Without the Trainer, none of them is filled in.
    assert len(lint(config, Training(8))) > 15


@pytest.mark.parametrize(
    ("config", "severity", "key"),
    [
        ({"fp16": {"enabled": True}}, "warning", "fp16.enabled"),
        (
            {"fp16": {"enabled": True}, "bf16": {"enabled": True}},
            "error",
            "fp16.enabled",
        ),
        (
            {
                "torch_autocast": {"enabled": True},
                **zero(3, zero_quantized_weights=True),
            },
            *("error", "torch_autocast.enabled"),
        ),
        (
            {"fp16": {"enabled": True, "loss_scale_window": 0}, **zero(1)},
            *("error", "fp16.loss_scale_window"),
        ),
        (
            {
                "fp16": {"enabled": True, "loss_scale": 128},
                "optimizer": {"type": "Lamb", "params": {"lr": 0.01}},
                **{"zero_allow_untested_optimizer": True, **zero(1)},
            },
            *("error", "fp16.loss_scale"),
        ),
    ],
)
def test_what_only_gpus_have(config, severity, key):
    found = lint({"train_micro_batch_size_per_gpu": 1, **config}, Training(2))
    assert (severity, key) in [(one.severity, one.key) for one in found]
    assert len(found) <= 2


def test_gradients_are_not_quantized_on_cpus():
    config = {"train_micro_batch_size_per_gpu": 1}
    config |= zero(3, zero_quantized_gradients=True)
    (found,) = lint(config, Training(2, "cpu"))
    assert found.key == "zero_optimization.zero_quantized_gradients"
    assert lint(config, Training(1, "cpu")) == lint(config, Training(2)) == []


def test_muon_takes_any_parameter_and_says_nothing():
    # DeepSpeed compiles for a minute to make it, so test_linting.py does not.
    params = {"lr": 1e-3, "momentun": 0.9}
    config = {"optimizer": {"type": "Muon", "params": params}, "train_batch_size": 1}
    (found,) = lint(config, Training(1))
    assert found.key == "optimizer.params.momentun"
    assert "silently" in found.happens


def test_transformers_needs_the_section_on_zero():
    config = {"train_micro_batch_size_per_gpu": "auto"}
    (found,) = lint(config, Training(1, transformers=True))
    assert found.key == "zero_optimization"


def test_weights_that_the_trainer_does_not_gather():
    good = GOOD["ds_config_zero3"]
    key = "stage3_gather_16bit_weights_on_model_save"
    zero = good.config["zero_optimization"] | {key: "auto"}
    (found,) = lint(good.config | {"zero_optimization": zero}, good.training)
    assert (found.severity, found.key) == ("warning", f"zero_optimization.{key}")
    # By its second name it is the same key.
    del zero[key]
    zero["gather_16bit_weights_on_model_save"] = True
    assert lint(good.config | {"zero_optimization": zero}, good.training) == []


def test_warnings_alone_are_no_failure(tmp_path, capsys):
    file = tmp_path / "ds_config.json"
    file.write_text('{"train_micro_batch_size_per_gpu": 1, "_comment": "mine"}')
    assert main(["lint-config", str(file), "--gpus", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 warning\n  _comment")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{,}", "line 1, column 2: no JSON"),
        (b"[]", "no JSON object"),
        (
            b'{"fp16": {"enabled": true, "enabled": true}}',
            'the key "enabled" is there twice',
        ),
        (b"\xff", "no text in UTF-8"),
        (None, "No such file"),
    ],
)
def test_what_is_no_config_is_one_line(tmp_path, capsys, text, said):
    file = tmp_path / "ds_config.json"
    if text is not None:
        file.write_bytes(text)
    assert main(["lint-config", str(file), "--gpus", "1"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("value", [1, "a", None, [], {}, True, "auto", -1.5])
def test_no_value_of_a_known_key_breaks_the_linter(value):
    from retune.linting.known_keys import TOP

    for key in TOP.keys:
        lint({"train_batch_size": 1, key: value}, Training(1))
        lint({key: {"type": value, "params": value, "stage": value}}, Training(1))


def test_it_answers_without_torch(tmp_path):
    file = tmp_path / "ds_config.json"
    file.write_text("{}")
    check = (
        "import sys; from retune.cli.main import main;"
        f"main(['lint-config', {str(file)!r}, '--gpus', '1']);"
        "assert not {'torch', 'deepspeed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.PIPE)
