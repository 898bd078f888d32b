"""benchmarks/gpu.py at toy size, with the packages that a bare GPU machine has."""

import gzip
import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What such a machine has, with all that it needs.
THERE = [
    "torch",
    "transformers",
    "accelerate",
    "safetensors",
    "numpy",
    "tqdm",
    "psutil",
]
# Not needed by anything there, but often asked whether they are.
ASKED_FOR = {
    "pyarrow",
    "polars",
    "pandera",
    "datasets",
    "dvc",
    "snakemake",
    "matplotlib",
}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def packages_of_the_kit():
    lines = (ROOT / "envs/gpu-kit.txt").read_text().splitlines()
    return [line.partition("==")[0] for line in lines if not line.startswith("#")]


def with_needs(names):
    """Return packages and those that they need, without extras."""
    found, todo = set(), [plain(name) for name in names]
    while todo:
        if (name := todo.pop()) not in found:
            found.add(name)
            needs = (requires(name) or []) if name != "liger-kernel" else []
            todo += [
                plain(re.match(r"[\w.-]+", need)[0])
                for need in needs
                if "extra ==" not in need and "python_version" not in need
            ]
            todo = [one for one in todo if one in DISTRIBUTIONS]
    return found


DISTRIBUTIONS = {
    plain(one) for names in packages_distributions().values() for one in names
}


@pytest.fixture(scope="module")
def not_installed():
    """Return the modules of all packages that are neither there nor in the kit."""
    kit = [name for name in packages_of_the_kit() if plain(name) in DISTRIBUTIONS]
    there = with_needs([*THERE, "setuptools", "ninja", *kit])
    return {
        module
        for module, names in packages_distributions().items()
        if not there & {plain(name) for name in names} and "retune" not in names
    }


def test_what_the_kit_must_not_need_is_hidden(not_installed):
    assert not_installed >= ASKED_FOR
    assert not {"torch", "deepspeed", "peft", "pydantic", "yaml"} & not_installed


def test_kernels_are_listed_by_their_time(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from gpu_profile import kernel_table

    events = [
        {"cat": "kernel", "name": "void at::native::add", "ts": 0, "dur": 1000},
        {"cat": "kernel", "name": "matmul", "ts": 500, "dur": 1500},
        {"cat": "cpu_op", "name": "aten::add", "ts": 0, "dur": 9000},
        {"cat": "gpu_memcpy", "name": "Memcpy", "ts": 3000, "dur": 1000},
    ]
    trace = tmp_path / "trace.json.gz"
    trace.write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    rows = [line.split(None, 3) for line in kernel_table(trace, 2).splitlines()[1:]]
    assert rows == [
        ["0.50", "25.0%", "0.0", "(no kernel runs)"],
        ["0.75", "37.5%", "0.5", "matmul"],
        ["0.50", "25.0%", "0.5", "add"],
        ["0.50", "25.0%", "0.5", "Memcpy"],
        ["0.00", "0.0%", "0.0", "(0 others)"],
    ]


@pytest.mark.long
def test_all_parts_at_toy_size(not_installed, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "tests/bare_machine"),
        "NOT_INSTALLED": " ".join(sorted(not_installed)),
    }
    command = [sys.executable, ROOT / "benchmarks/gpu.py", "--toy", "--minutes", "15"]
    subprocess.run([*command, "--out", out], env=environment, check=True)
    records = [json.loads(line) for line in (out / "results.jsonl").open()]
    tests = [one for one in records if one["part"] == "tests/gpu"]
    assert [one["failed"] for one in tests] == [[]], (out / "tests.log").read_text()
    assert tests[0]["passed"] >= 4

    trainings = {
        (one["model"], one["training"]): one for one in records if "model" in one
    }
    errors = {key: one["error"] for key, one in trainings.items() if "error" in one}
    assert not errors, (out / "speed.log").read_text()[-8000:]
    assert all(one["tokens/s"] > 0 for one in trainings.values())
    for model in ("llama-1b", "gpt2-124m", "llama-8b-lora", "llama-0.5b"):
        assert {(model, "retune"), (model, "Trainer, attn_implementation=sdpa")} <= set(
            trainings
        )
    assert ("llama-1b", "retune, use_liger_kernel=False, zero_stage=3") in trainings
    assert ("llama-1b-64k", "retune") in trainings
    profiled = [model for model, name in trainings if name == "retune, profile=True"]
    assert profiled == ["llama-1b", "gpt2-124m"]
    profiles = (out / "profiles.txt").read_text()
    assert profiles.count("nothing ran on a GPU") == 2

    page = (out / "results.md").read_text()
    headings = re.findall(r"^## (.*)", page, re.M)
    parts = ["machine", "tests/gpu", "kernels", "speed", "planner"]
    assert headings == [*parts, "64 k tokens of context"]
    timed = [one["text"] for one in records if one["part"] == "kernels"]
    assert len(timed) > 20
    assert all(" ms" in line for line in timed), timed
    assert page.count("\n| llama-1b |") >= 5
    # No more files come back from a lent machine.
    assert len(list(out.iterdir())) <= 8
