"""`retune.linting` and `python -m retune lint-config`, without DeepSpeed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lint_cases import CASES, CLASSIC, UNCHECKED, Case, with_text, zero
from lint_good_configs import GOOD
from retune.cli.lint_config import number_of_parameters
from retune.cli.main import main
from retune.linting.batch import SIZES
from retune.linting.finding import Training
from retune.linting.findings_text import findings_text
from retune.linting.lint import lint
from retune.linting.wrong_values import AT_FIRST_STEP, AT_PROFILE, AT_START

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


def test_the_classic_config(tmp_path, capsys, monkeypatch):
    # Of a terminal as wide as the page.
    monkeypatch.setenv("COLUMNS", "100")
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
    assert "5e8 elements" in bucket.happens
    assert "for 1.24e8 parameters" in bucket.happens


@pytest.mark.parametrize("key", [*AT_START, *AT_FIRST_STEP, *AT_PROFILE, *UNCHECKED])
def test_what_a_text_does_is_said_of_each_key(key):
    (found,) = lint({"train_batch_size": 1, **with_text(key)}, Training(1))
    said = (
        "stops with"
        if key in (*SIZES, *AT_PROFILE)
        else "stops at the first step"
        if key in AT_FIRST_STEP
        else "refuses"
        if key in AT_START
        else "unchecked"
    )
    assert said in found.happens


@pytest.mark.parametrize(
    ("config", "mend"),
    [
        ({"gradient_acumulation_steps": 4}, "write gradient_accumulation_steps"),
        ({"offload_optimizer": {}}, "belongs at zero_optimization.offload_optimizer"),
        ({"offload_optimizer": "cpu"}, "delete it"),
        ({"stage3_max_live_parameter": 1}, "delete it"),
        ({"bf16.enabled": True}, 'write nested objects: {"bf16": {"enabled": ...}}'),
        ({"gradient_accumulation_dtype": "fp32"}, "data_types.grad_accum_dtype"),
        ({"seed": 1}, "delete it"),
        ({"FP16": True}, "delete it"),
        ({"FP16": {}}, "write fp16"),
        ({"optimizer": {"type": "AdamW", "optimizer": {}}}, "delete it"),
        (zero(3, offload_param="cpu"), '{"device": "cpu"}'),
        ({"fp16": True}, '{"enabled": true}'),
        ({"data_types": {"param_dtype": "fp8"}}, '"fp32", "fp16" or "bf16"'),
        (zero(1, reduce_bucket_size="50_000_000"), "write 50000000 without"),
    ],
)
def test_the_mend_is_what_was_meant(config, mend):
    (found,) = lint({"train_micro_batch_size_per_gpu": 1, **config}, Training(1))
    assert mend in found.mend


def test_two_findings_of_one_key_are_both_shown():
    lines = zero(2, offload_optimizer={"device": "cpu", "ratio": 0.5})
    lines["zero_optimization"]["stage"] = "2"
    config = {"train_batch_size": 1, "gradient_clipping": -1, **lines}
    assert len(lint(config, Training(1))) == 3
    both = {"train_batch_size": 1, "bf16": {"enabled": "true"}}
    assert [one.key for one in lint(both, Training(1))] == ["bf16.enabled"] * 2


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
    ("text", "options", "said"),
    [
        (b"{,}", [], "line 1, column 2: no JSON"),
        (b"", [], "is empty"),
        (b"[]", [], "has a list at the top"),
        (b'{"a": True}', [], "column 7: True is Python: in JSON it is true"),
        (
            *(b'{"fp16": {"enabled": true, "enabled": true}}', []),
            'the key "enabled" is there twice',
        ),
        (b"\xff", [], "no text in UTF-8"),
        (b'{"a": %s}' % (b"9" * 400), [], "has 400 digits"),
        (b'{"a": %s%s}' % (b"[" * 5000, b"]" * 5000), [], "too deep"),
        (None, [], "No such file"),
        (b'{"a": 1 // x\n}', ["--transformers"], "line 1, column 9: a comment"),
        (b'{"a": 1,\n}', ["--transformers"], "a comma after the last value"),
        (b"\xef\xbb\xbf{}", ["--transformers"], "a byte order mark"),
        (b"{}", ["--precision", "bf16"], "--precision is for --transformers"),
        (b"{}", ["--model-parallel", "2"], "do not make whole copies"),
    ],
)
def test_what_is_no_config_is_one_line(tmp_path, capsys, text, options, said):
    file = tmp_path / "ds_config.json"
    if text is not None:
        file.write_bytes(text)
    assert main(["lint-config", str(file), "--gpus", "1", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    "text",
    [
        b'{"train_batch_size": 8, // eight\n}',
        b'{"train_batch_size": 8,}',
        b"# mine\ntrain_batch_size: 8",
        b'\xef\xbb\xbf{"train_batch_size": 8}',
    ],
)
def test_hjson_is_read_as_deepspeed_reads_it(tmp_path, capsys, text):
    file = tmp_path / "ds_config.json"
    file.write_bytes(text)
    assert main(["lint-config", str(file), "--gpus", "3"]) == 1
    shown = capsys.readouterr().out
    assert "1 error\n  train_batch_size " in shown
    assert "1 warning" in shown
    assert "read as Hjson" in shown


def test_infinity_is_no_number_in_a_file(tmp_path, capsys):
    file = tmp_path / "ds_config.json"
    file.write_text('{"train_batch_size": 1, "gradient_clipping": Infinity}')
    assert main(["lint-config", str(file), "--gpus", "1"]) == 1
    assert "Infinity is no JSON" in capsys.readouterr().out
    # A script's own dict may have it.
    config = {"train_batch_size": 1, "gradient_clipping": float("inf")}
    assert lint(config, Training(1)) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("--gpus", "x"), ("--gpus", "0"), ("--parameters", "many"), ("--parameters", "0")],
)
def test_wrong_options_are_said_in_words(capsys, option, value):
    arguments = ["lint-config", "x.json", "--gpus", "1", option, value]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert f"{option}: {value!r} is no " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "parameters"),
    [("7B", 7e9), ("124M", 124e6), ("124e6", 124e6), ("1.5b", 1.5e9), ("1000", 1000)],
)
def test_numbers_of_parameters(text, parameters):
    assert number_of_parameters(text) == pytest.approx(parameters)


def test_it_reads_stdin_and_prints_what_a_terminal_can_show():
    config = json.dumps({"train_batch_size": 1, "\u00e9\u001b[31m": 1})
    command = [sys.executable, "-m", "retune", "lint-config", "-", "--gpus", "1"]
    ran = subprocess.run(
        command,
        input=config.encode(),
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ran.stderr == b""
    assert b"  \\xe9\\u001b[31m  unknown" in ran.stdout


@pytest.mark.parametrize("width", [60, 80, 100])
def test_lines_are_as_wide_as_the_terminal(width):
    text = findings_text(lint(CLASSIC, Training(2)), width)
    assert max(map(len, text.splitlines())) <= width
    # What goes on in the next line is below where it began.
    assert "\n" + " " * 20 in text


@pytest.mark.parametrize(
    ("training", "is_right"),
    [
        (Training(4), False),
        (Training(4, model_parallel=2), True),
        (Training(4, model_parallel=4), False),
    ],
)
def test_only_copies_of_the_model_multiply_the_batch(training, is_right):
    sizes = {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 4}
    config = sizes | {"gradient_accumulation_steps": 1}
    assert (lint(config, training) == []) == is_right
    if training.model_parallel is None:
        # The file may say how many GPUs hold one, or that it is a pipeline.
        assert lint(config | {"pipeline": {"stages": 2}}, training) == []
        assert lint(config | {"pipeline": {}}, training) == []
        assert len(lint(config | {"pipeline": {"stages": 1}}, training)) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precision_is_what_the_trainer_fills_in(precision):
    training = Training(8, transformers=True, precision=precision)
    found = {one.key: one for one in lint(GOOD["no precision"].config, training)}
    assert set(found) == ({f"{precision}.enabled"} - {"fp32.enabled"})
    if found:
        happens = found[f"{precision}.enabled"].happens
        assert "unless the model is a PipelineModule" in happens
    wanted = {"data_types": {"param_dtype": "bf16"}, "bf16": {"enabled": "auto"}}
    found = lint(GOOD["no precision"].config | zero(1) | wanted, training)
    keys = [] if precision == "bf16" else ["data_types.param_dtype"]
    assert [one.key for one in found] == keys


def test_a_step_of_zeros_is_nothing_for_some_optimizers():
    config = {"train_batch_size": 1, "bf16": {"enabled": True}}
    assert len(lint(config, Training(1))) == 1
    assert lint(config, Training(1, client_optimizer="torch.optim.SGD")) == []


def test_accelerate_takes_care_of_the_optimizer_of_a_script():
    config = {"train_batch_size": 1, **zero(2, offload_optimizer={"device": "cpu"})}
    training = Training(1, transformers=True, client_optimizer="torch.optim.AdamW")
    assert lint(config, training) == []
    assert len(lint(config, replace(training, transformers=False))) == 1


def test_accelerate_adds_bf16_beside_bfloat16():
    config = GOOD["no precision"].config | zero(1) | {"bfloat16": {"enabled": True}}
    (found,) = lint(config, Training(8, transformers=True))
    assert found.key == "bfloat16"
    assert "Accelerate adds bf16" in found.happens


def test_one_known_size_decides_what_the_trainer_cannot_mend():
    config = GOOD["no precision"].config | zero(1)
    training = Training(4, transformers=True)
    assert lint(config | {"train_batch_size": 8}, training) == []
    (found,) = lint(config | {"train_batch_size": 10}, training)
    assert "multiple of 4" in found.mend
    micro = {"train_micro_batch_size_per_gpu": 3}
    (found,) = lint(config | micro | {"train_batch_size": 8}, training)
    assert "multiple of 12" in found.mend


@pytest.mark.parametrize(
    ("config", "happens"),
    [
        ({}, "the model trains in fp32"),
        ({"bf16": {"enabled": True}}, "fp16 stays off"),
    ],
)
def test_auto_in_fp16_says_what_trains(config, happens):
    config = {"train_batch_size": 1, "fp16": {"enabled": "auto"}, **zero(1), **config}
    (found,) = lint(config, Training(1))
    assert happens in found.happens
    assert "or Accelerate, fills it in (--transformers)" in found.mend


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
