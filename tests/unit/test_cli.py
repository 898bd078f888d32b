"""The command line: light, and clear about what is wrong."""

import argparse
import re
import signal
import subprocess
import sys
from functools import reduce

import pytest
import yaml

from retune.artifacts.publishing import write_manifest
from retune.cli.main import main
from retune.cli.step_arguments import read_signature
from retune.cli.step_settings import step_values
from retune.errors import RetuneError
from retune.settings import (
    FinetuneSettings,
    PrecisionSettings,
    RunSettings,
    ScoringSettings,
    TrainedWeightsSettings,
)
from retune.settings.params import read_params
from retune.step_code import STEPS
from tiny_facts import tiny_facts

HEAVY = "torch", "transformers", "deepspeed", "datasets"
NEED_NO_TORCH = "download", "prepare", "tokenize", "configure", "report", "publish"


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_help_lists_every_step_and_loads_nothing_heavy():
    code = (
        "import sys; from retune.cli.main import build_parser;"
        "print(build_parser().format_help(), *sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(STEPS) <= set(shown)
    assert not set(HEAVY) & set(shown)


@pytest.mark.parametrize("module", NEED_NO_TORCH)
def test_what_needs_no_torch_does_not_load_it(module):
    assert "torch" not in modules_after(f"import retune.steps.{module}")


@pytest.mark.parametrize("step", STEPS)
def test_the_help_of_a_step_says_what_each_path_is_and_which_step_makes_it(
    step, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit):
        main([step, "--help"])
    shown = capsys.readouterr().out
    paths = re.findall(r"^  --([\w-]+) PATH +(.*)$", shown, re.MULTILINE)
    assert paths
    for name, text in paths:
        found = re.findall(r"\b[a-z]+\b", text)
        made_here = {"publish", "write", "resumes"} & set(found)
        assert made_here or (set(STEPS) - {step}) & set(found), f"--{name}: {text}"
        assert re.search(r"\([\w./]+\)\.$", text), f"--{name}: {text}"
        assert f"--{name} " in shown.partition("example:")[2]


DEVICES = {
    "accelerator": "hardware.accelerator",
    "ranks_per_node": "hardware.ranks_per_node",
}
# A step, the other settings that it takes, and what params.yaml says of them.
SETTINGS_OF_STEPS = {
    "download": {"settings": "dataset"},
    "fetch": {"settings": "model"},
    "prepare": {"settings": "prepare"},
    "tokenize": {"settings": "tokenize"},
    "configure": {
        **{"settings": "configure", "hardware": "hardware", "trained": "finetune"},
    },
    "finetune": {"settings": "finetune", "nvme_path": "hardware.nvme_path"},
    "consolidate": {"settings": "consolidate"},
    "baseline": {"settings": "evaluate"} | DEVICES,
    "evaluate": {"settings": "evaluate"} | DEVICES,
    "sample": {"settings": "sample", "precision": "evaluate"} | DEVICES,
    "report": {"settings": ""},
    "publish": {"settings": ""},
}
# The models of steps that take a part of that.
PARTS = {
    "baseline": {"settings": ScoringSettings},
    "configure": {"trained": TrainedWeightsSettings},
    "publish": {"settings": RunSettings},
    "sample": {"precision": PrecisionSettings},
}


def given(step, **options):
    """Return what the command line gives a step: these options, and no path."""
    names = [argument.name for argument in read_signature(step).arguments]
    return argparse.Namespace(
        **{"step": step, "params": None, **dict.fromkeys(names), **options}
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_step_takes_its_settings_from_a_file(step, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(PARAMS)
    params = read_params(yaml.safe_load(PARAMS))
    values = step_values(given(step, params=file))
    expected = {
        name: reduce(getattr, filter(None, where.split(".")), params)
        for name, where in SETTINGS_OF_STEPS[step].items()
    }
    for name, model in PARTS.get(step, {}).items():
        expected[name] = model.part_of(expected[name])
    assert {name: value for name, value in values.items() if value} == expected


PARAMS = """
dataset: builtin
model: builtin
hardware: {accelerator: auto, ranks_per_node: auto, nvme_path: /fast}
finetune: {epochs: 3}
"""


def run_baseline(*arguments):
    """Run `baseline` with paths where nothing is."""
    paths = ("base", "clean", "documents", "metrics")
    others = [word for name in paths for word in (f"--{name}", f"no-{name}")]
    return main(["baseline", *arguments, *others])


def test_settings_come_from_one_place(tmp_path, capsys):
    file = tmp_path / "params.yaml"
    file.write_text(PARAMS)
    for arguments in (("--params", str(file), "--settings", "{}"), ()):
        with pytest.raises(SystemExit) as exit_:
            run_baseline(*arguments)
        assert exit_.value.code == 2
        assert "--params" in capsys.readouterr().err
    assert run_baseline("--params", str(file), "--accelerator", "cpu") == 1
    assert capsys.readouterr().err == (
        f"error: --accelerator: --params {file} says it already\n"
    )
    assert run_baseline("--settings", "{}") == 1
    assert capsys.readouterr().err == (
        "error: --settings needs --accelerator and --ranks-per-node, too\n"
    )


@pytest.mark.parametrize(
    ("ranks", "wanted"),
    [("0", "greater than or equal to 1"), ("two", "a valid integer")],
)
def test_a_setting_of_the_hardware_is_checked(ranks, wanted, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_baseline(
            *("--settings", "{}", "--accelerator", "cuda", "--ranks-per-node", ranks)
        )
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"hardware.ranks_per_node: '{ranks}' should be {wanted} or 'auto'" in last


def test_operational_settings_stand_beside_the_others():
    settings = FinetuneSettings(epochs=3)
    options = given(
        "finetune", settings=settings, operational={"save_steps": 7}, nvme_path=""
    )
    values = step_values(options)
    assert values["settings"] == FinetuneSettings(epochs=3, save_steps=7)
    assert not {"params", "step", "operational"} & values.keys()


@pytest.mark.parametrize(
    ("operational", "told"),
    [
        ({"epochs": 2}, "--operational: epochs: this decides results"),
        ({"save_steps": 0}, "--operational: save_steps: 0 should be greater"),
        ({"save_step": 1}, "--operational: save_step: this decides results"),
    ],
)
def test_operational_settings_that_are_wrong_are_told(operational, told):
    settings = FinetuneSettings()
    options = given(
        "finetune", settings=settings, operational=operational, nvme_path=""
    )
    with pytest.raises(RetuneError, match=told):
        step_values(options)


def test_operational_settings_of_a_file_are_not_given_twice(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(PARAMS)
    options = given("finetune", params=file, operational={"save_steps": 7})
    with pytest.raises(RetuneError, match="--operational: --params .* says it already"):
        step_values(options)


def test_an_old_name_in_a_file_is_a_warning_that_names_the_new_one(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(PARAMS.replace("ranks_per_node: auto", "gpus_per_node: 1"))
    values = step_values(given("configure", params=file))
    assert values["hardware"].ranks_per_node == 1
    assert capsys.readouterr().err == (
        f"warning: {file}: hardware.gpus_per_node: is called hardware.ranks_per_node"
        " now; please rename it\n"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "error: --params: there is no file "),
        (b"a: \xff", "line 1, column 4: the byte 0xff is no UTF-8"),
        (b"a: [b", "line 1, column 4: in what begins with [ a comma or"),
        (b"- a", "line 1, column 1: the file is a list"),
        (PARAMS.encode() + b"model: gpt2", "model: is written twice, on lines 3 and 6"),
        (
            PARAMS.replace("epochs", "epoch").encode(),
            "/mine.yaml: 1 problem\n  finetune.epoch: unknown key; did you mean epochs",
        ),
    ],
)
def test_a_file_of_settings_that_is_wrong_is_told(tmp_path, capsys, text, told):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_bytes(text)
    assert run_baseline("--params", str(file)) == 1
    shown = capsys.readouterr().err
    assert told in shown
    assert "Traceback" not in shown


def test_wrong_settings_are_named(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["consolidate", "--settings", '{"max_shard_size": 1}'])
    assert exit_.value.code == 2
    assert "max_shard_size: unknown key" in capsys.readouterr().err


def test_an_error_of_the_user_shows_no_traceback(tmp_path, capsys):
    (tmp_path / "base").mkdir()
    tiny_facts(vocab_size=9, context_length=8).write(tmp_path / "base")
    arguments = {
        "clean": tmp_path / "clean",
        "base": tmp_path / "base",
        "tokens": tmp_path / "tokens",
        "metrics": tmp_path / "metrics.json",
    }
    (tmp_path / "base/tokenizer.json").write_text(
        '{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],'
        ' "normalizer": null, "pre_tokenizer": null, "post_processor": null,'
        ' "decoder": null, "model": {"type": "BPE", "vocab": {}, "merges": []}}'
    )
    (tmp_path / "clean").mkdir()
    for folder in ("base", "clean"):
        write_manifest(tmp_path / folder)
    paths = [word for k, v in arguments.items() for word in (f"--{k}", str(v))]
    assert main(["tokenize", "--settings", '{"sequence_length": 16}', *paths]) == 1
    shown = capsys.readouterr().err
    assert "error: tokenize.sequence_length: 16 is longer" in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize(
    ("package", "module"),
    [
        ("retune", "retune.supervision.starter"),
        ("retune", "retune.terminal.closed_terminal"),
        ("retune", "retune.cli.main"),
        ("retune", "pydantic"),
        ("retune_dvc", "retune_dvc.command_line"),
        ("retune_dvc", "pydantic"),
        ("retune_workflow", "retune_workflow.command_line"),
        ("retune_workflow", "pydantic"),
    ],
)
def test_ctrl_c_during_an_import_shows_no_traceback(package, module):
    code = f"""
import os, runpy, signal, sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

# What a shell starts in the background ignores SIGINT, and so would this.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupted())
sys.argv[1:] = ["--help"]
runpy.run_module({package!r}, run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode in (128 + signal.SIGINT, -signal.SIGINT)
    assert (ended.stdout, ended.stderr) == ("", "")
