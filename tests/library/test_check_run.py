"""`python -m retune check`: all that can be known before a job is queued."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retune.step_code import LIBRARY
from tiny_models import SENTENCES, build_tiny_model

ROOT = LIBRARY.parents[1]
CHECKS = [
    *("settings", "dataset", "prepare", "model", "packages", "tokens", "evaluation"),
    *("plan", "training", "NVMe", "deepspeed.json", "compilers", "GPUs", "memory"),
    *("disk", "SLURM request"),
]


def run_check(folder, *options):
    """Run the command in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "retune", "check", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "COLUMNS": "100"},
    )


def states_in(shown):
    """Return the state of each check."""
    lines = shown.partition("\n\n")[0].splitlines()
    heads = [line for line in lines if line[:1].strip()]
    return {line[:16].strip(): line[16:29].strip() for line in heads}


def files_in(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in Path(folder).rglob("*")
    }


def test_the_default_run_has_no_errors(tmp_path):
    done = run_check(tmp_path, "--params", str(ROOT / "params.yaml"))
    states = states_in(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(states) == CHECKS
    assert states.pop("SLURM request") == "not checked"
    assert set(states.values()) == {"ok"}
    assert done.stdout.endswith("\n\nno errors; 1 of 16 not checked\n")
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run_folder(tmp_path):
    """A run on a model and texts of the user's."""
    folder = tmp_path / "run"
    folder.mkdir()
    build_tiny_model(folder / "mine", context=64)
    (folder / "mine/model_facts.json").unlink()
    texts = [f"{words} {number}" for number in range(40) for words in SENTENCES]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "texts.jsonl").write_text(rows)
    text = "dataset: texts.jsonl\nmodel: ./mine\nconfigure: {global_batch_size: 4}\n"
    (folder / "params.yaml").write_text(text)
    return folder


def test_a_run_on_local_files_has_no_errors_and_is_left_as_it_is(run_folder):
    before = files_in(run_folder)
    done = run_check(run_folder)
    assert done.returncode == 0, done.stdout
    states = states_in(done.stdout)
    assert states.pop("SLURM request") == "not checked"
    assert set(states.values()) == {"ok"}
    assert "texts.jsonl: 160 rows" in done.stdout
    assert "GPT2LMHeadModel" in done.stdout
    assert files_in(run_folder) == before


FAULTY = """\
dataset: texts.jsonl
model: ./mine
hardware: {accelerator: cpu, ranks_per_node: 2, nvme_path: texts.jsonl/swap}
tokenize: {sequence_length: 32}
configure: {global_batch_size: 3, offload_optimizer: nvme, zero_stage: 3}
finetune: {learning_rat: 0.1}
"""


def test_faults_of_every_kind_are_told_at_once(run_folder):
    (run_folder / "params.yaml").write_text(FAULTY)
    with (run_folder / "texts.jsonl").open("a") as file:
        file.write("{no JSON\n")
    weights = run_folder / "mine/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = run_check(run_folder)
    assert done.returncode == 1
    told = done.stdout.partition("5 errors:\n")[2].splitlines()
    starts = [
        "  finetune.learning_rat: unknown key; did you mean learning_rate?",
        "  configure.global_batch_size: 3 is not a multiple of ranks",
        "  dataset.files: texts.jsonl, line 161 is not JSON",
        "  model.folder: ./mine has a damaged model.safetensors",
        f"  hardware.nvme_path: texts.jsonl/swap: {run_folder}/texts.jsonl cannot be",
    ]
    for line, start in zip(told, starts, strict=True):
        assert line.startswith(start)
    states = states_in(done.stdout)
    assert list(states) == CHECKS
    assert states["plan"] == states["disk"] == "not checked"


def test_settings_that_do_not_suit_the_model_are_told(run_folder):
    (run_folder / "params.yaml").write_text(
        "dataset: texts.jsonl\nmodel: ./mine\n"
        "configure: {attn_implementation: varlen, chunked_cross_entropy: true}\n"
        "tokenize: {sequence_length: 65}\nevaluate: {context_length: 65}\n"
    )
    done = run_check(run_folder)
    assert "2 errors:\n  tokenize.sequence_length: 65 is longer" in done.stdout
    assert "  evaluate.context_length: 65 is longer" in done.stdout


def test_what_snakemake_refuses_of_a_given_deepspeed_config_is_told(run_folder):
    (run_folder / "params.yaml").write_text(
        "dataset: texts.jsonl\nmodel: ./mine\n"
        "configure:\n  gradient_clipping: 1.0\n"
        "  overrides: {gradient_clipping: 0.5, scheduler: {type: WarmupLR}}\n"
    )
    done = run_check(run_folder)
    assert done.returncode == 1
    told = done.stdout.partition("2 errors:\n")[2].splitlines()
    starts = ["gradient_clipping: it makes", "scheduler.type: WarmupLR, but finetune."]
    for line, start in zip(told, starts, strict=True):
        assert line.startswith(f"  configure.overrides.{start}")
    assert states_in(done.stdout)["plan"] == "error"


def test_a_batch_that_is_larger_than_the_data_is_a_warning(run_folder):
    text = "dataset: texts.jsonl\nmodel: ./mine\nconfigure: {global_batch_size: 1024}\n"
    (run_folder / "params.yaml").write_text(text)
    done = run_check(run_folder)
    assert done.returncode == 0
    assert "2 warnings:\n  configure.global_batch_size: 1,024 is more" in done.stdout


def test_what_is_on_the_hub_is_no_error(run_folder):
    text = "dataset: wikitext\nmodel: gpt2\n"
    (run_folder / "params.yaml").write_text(text)
    done = run_check(run_folder)
    assert done.returncode == 0, done.stdout
    states = states_in(done.stdout)
    assert states["dataset"] == states["model"] == states["plan"] == "not checked"


def test_settings_that_cannot_be_read_are_the_only_error(run_folder):
    (run_folder / "params.yaml").write_text("a: [b")
    done = run_check(run_folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml, line 1, column 4: ")
    assert done.stdout == ""


def test_a_reader_may_leave_early(run_folder):
    command = f"{sys.executable} -m retune check | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=run_folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
    )
    assert done.stdout.startswith("settings        ok")
    assert done.stderr == ""
