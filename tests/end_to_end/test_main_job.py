"""The whole main job on a tiny setting: real git, DVC and DeepSpeed, no network."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from planned_steps import read_reasons
from retune.step_code import STEPS
from retune_workflow.manual import ROOT
from workflow_copy import copy_workflow

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
TINY = {
    "model": {
        "source": "builtin",
        "vocab_size": 512,
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 1,
        "n_head": 2,
    },
    "configure": {"global_batch_size": 8, "micro_batch_size": 2, "zero_stage": 2},
    "finetune": {"max_steps": 30, "learning_rate": "5e-3", "eval_steps": 10},
    "sample": {"prompts": ["Return the"], "max_new_tokens": 4},
}


class Run:
    """A workspace under git and DVC, whose commands may not leave this machine."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = folder.parent / "calls-to-other-machines"

    def __call__(self, *command, **more):
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "tests/network_guard"),
            "NETWORK_GUARD_LOG": str(self.calls),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            **more,
        }
        environment.pop("RETUNE_NO_DVC", None)
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    def read(self, path):
        return json.loads((self.folder / path).read_text())

    def planned(self):
        """Return the rules a dry run of the main job would run."""
        return set(read_reasons(self("snakemake", "-n", "train")))

    def git(self, *arguments):
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        return self("git", *identity, *arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(copy_workflow(tmp_path_factory.mktemp("main") / "job"))
    params = yaml.safe_load((run.folder / "params.yaml").read_text())
    for section, values in TINY.items():
        old = params[section] if isinstance(params[section], dict) else {}
        params[section] = {**old, **values}
    (run.folder / "params.yaml").write_text(yaml.safe_dump(params))
    run.git("init", "--quiet")
    run.git("add", "--all")
    run.git("commit", "--quiet", "--message", "start")
    return run


@pytest.fixture(scope="module")
def shown(run):
    """What the main job prints."""
    return run("snakemake", "--cores", "all", "train")


def test_each_step_says_what_it_did_in_one_line(shown):
    lines = shown.splitlines()
    finished = [line.split()[1] for line in lines if line.startswith("✓")]
    assert sorted(finished) == sorted(STEPS)
    assert all(re.match(r"✓ \w+ +[\d.]+ s  \S", li) for li in lines if li[:1] == "✓")


def test_it_ends_with_the_table_and_the_paths(shown):
    end = shown[shown.rindex("✓") :]
    assert "bits per byte" in end
    assert "95 %" in end
    assert re.search(r"model +models/tuned\n", end)
    assert re.search(r"report +report.html\n", end)
    assert "Traceback" not in shown
    assert len(shown.splitlines()) < 40


def test_nobody_called_another_machine(run, shown):
    assert not run.calls.exists(), run.calls.read_text()


def test_the_tuned_model_beats_the_base_model(run, shown):
    test = run.read("metrics/evaluation.json")["test"]
    assert test["tuned"]["bits_per_byte"] < test["base"]["bits_per_byte"] - 0.3
    assert test["bits_per_byte_change_high"] < 0


def test_the_published_model_loads_and_is_documented(run, shown):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = run.folder / "models/tuned"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("Return the", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, ids.shape[1], 512)
    card = (folder / "README.md").read_text()
    assert run.git("rev-parse", "HEAD").strip() in card
    assert "tiny" in card


def test_the_report_needs_nothing_from_elsewhere(run, shown):
    html = (run.folder / "report.html").read_text()
    assert "default-src 'none'" in html
    assert not re.findall(r'(?:src|srcset|href)="(?!data:|#)', html)
    for heading in ("Evaluation", "Training", "Samples", "Data", "Plan", "Provenance"):
        assert f"<h2>{heading}</h2>" in html


def test_no_name_of_this_machine_is_published(run, shown):
    for path in (run.folder / "models/tuned").iterdir():
        if path.suffix in {".json", ".md"}:
            assert str(run.folder) not in path.read_text(), path.name


def test_again_there_is_nothing_to_do_within_seconds(run, shown):
    start = time.monotonic()
    assert "Nothing to be done" in run("snakemake", "--cores", "all", "train")
    assert time.monotonic() - start < 20


def test_dvc_has_recorded_the_run(run, shown):
    assert "up to date" in run("dvc", "status")
    lock = yaml.safe_load((run.folder / "dvc.lock").read_text())
    assert set(lock["stages"]) == set(STEPS)
    assert "bits_per_byte" in run("dvc", "metrics", "show")
    assert "index.html" in run("dvc", "plots", "show")


def test_git_sees_what_people_read_and_nothing_heavy(run, shown):
    run.git("add", "--all")
    added = run.git("diff", "--cached", "--name-only").split()
    assert "dvc.lock" in added
    assert "metrics/evaluation.json" in added
    assert "plan/plan.md" in added
    heavy = [path for path in added if re.search(r"safetensors|\.pt$|\.bin$", path)]
    assert not heavy


def test_another_learning_rate_reruns_training_and_what_follows(run, shown):
    path = run.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("learning_rate: 5e-3", "learning_rate: 4e-3"))
    assert path.read_text() != text
    planned = run.planned()
    path.write_text(text)
    assert planned == {
        *("finetune", "consolidate", "evaluate", "sample", "report", "publish")
    }
    assert run.planned() == set()


def test_settings_from_the_command_line_are_not_recorded_as_those_of_the_file(
    run, shown
):
    lock = (run.folder / "dvc.lock").read_bytes()
    option = ["--config", "consolidate={max_shard_size_gb: 1}"]
    out = run("snakemake", "--cores", "all", *option, "--", "consolidate")
    assert "not recorded with DVC" in out
    assert (run.folder / "dvc.lock").read_bytes() == lock
    run("snakemake", "--cores", "all", "train")
    assert "up to date" in run("dvc", "status")


def test_a_failing_step_shows_its_error_and_its_log(run, shown):
    path = run.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("sequence_length: auto", "sequence_length: 65"))
    try:
        with pytest.raises(AssertionError) as failure:
            run("snakemake", "--cores", "all", "train")
    finally:
        path.write_text(text)
    out = str(failure.value)
    assert "✗ tokenize" in out
    assert "error: tokenize.sequence_length: 65 is longer than the model's" in out
    assert "log: logs/tokenize.log" in out
    assert "Traceback" not in out
