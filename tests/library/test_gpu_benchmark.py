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


# Writes inputs and plan of a training, as the parts do.
PLAN = """
import sys
from pathlib import Path
from gpu_cases import SHAPES, Case, as_toy, settings_of
from gpu_inputs import make_inputs
from random_inputs import write_plan
from retune.settings import ConfigureSettings
folder = Path(sys.argv[1])
shape = as_toy(SHAPES["gpt2-124m"])
make_inputs(shape, folder)
settings = ConfigureSettings(**settings_of(Case("gpt2-124m"), True))
write_plan(folder, shape.setup, settings, folder / "plan")
"""


def test_a_plan_is_made_without_what_draws_figures(not_installed, tmp_path):
    paths = [str(ROOT / name) for name in ("tests/bare_machine", "benchmarks")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, str(ROOT / "workflow")]),
        "NOT_INSTALLED": " ".join(sorted(not_installed)),
    }
    folder = tmp_path / "inputs"
    command = [sys.executable, "-c", PLAN, folder]
    done = subprocess.run(
        command, env=environment, check=True, stderr=subprocess.PIPE, text=True
    )
    assert "memory.svg is not drawn: matplotlib is not installed" in done.stderr
    assert not (folder / "plan/memory.svg").exists()
    assert "memory.svg" not in (folder / "plan/plan.md").read_text()
    plan = json.loads((folder / "plan/plan.json").read_text())
    assert (plan["zero_stage"], plan["micro_batch_size"]) == (1, 2)
    assert plan["offload_optimizer"] == plan["offload_param"] == "none"
    assert plan["activation_checkpointing"] is False


def test_predictions_are_scored(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from gpu_scores import rank_correlation, summary

    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    common = {"model": "m", "precision": "bf16", "length": 8, "is_beyond": False}
    common |= {"fits": True}
    # Name, predicted and measured seconds of a step of ten tokens, error of memory.
    figures = [("a", 1, 2, 1.0), ("b", 2, 1, -3.0), ("c", 3, 3, 0.5), ("d", 4, 4, 0.0)]
    records = [
        {
            **{**common, "training": name, "error %": error},
            **{"predicted s/step": predicted, "predicted tokens/s": 10 / predicted},
            **{"s/step": seconds, "tokens/s": 10 / seconds},
        }
        for name, predicted, seconds, error in figures
    ]
    ran_out = {**common, "error": "OutOfMemoryError: CUDA out of memory. Tried"}
    records.append({**ran_out, "training": "e"})
    records.append({**ran_out, "training": "f", "fits": False, "is_beyond": True})
    for record, measured in zip(records, [2.0, 4.0], strict=False):
        record["phases"] = {"load": measured, "step": 8.0}
        record["predicted phases"] = {"load": 3.0, "step": 8.0, "save": 1.0}
    assert summary(records).splitlines() == [
        "- 4 of 6 trainings were measured.",
        "- Peak of tensors: median error 0.75 %, worst -3.0 % (m: b).",
        "- Time of a step: predicted / measured 1.00 in the median (0.50-2.00), rank"
        " correlation 0.800.",
        "- m at 8 tokens: the choice (a) takes 100.0 % longer than the fastest of 4"
        " (b); rank correlation of tokens/s 0.800.",
        "- Said to fit, and ran out: 1: m: e",
        "- Micro-batches that are predicted not to fit: 1 of 1 ran out",
        "",
        "| phase | trainings | median error % | least | most |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| load | 2 | 37.50 | -25.0 | +50.0 |",
        "| step | 2 | 0.00 | +0.0 | +0.0 |",
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
    grid = [one for one in records if one["part"] == "planner"]
    predicted = [one["predicted"] for one in grid if "predicted" in one]
    measured = [one for one in grid if "training" in one]
    # All are predicted before the first is measured.
    assert grid.index(measured[0]) == len(predicted) == len(measured) == 3
    assert [one["training"] for one in predicted] == [
        one["training"] for one in measured
    ]
    assert {one["model"] for one in measured} == {
        *("grid-gpt2", "grid-llama", "grid-qwen2")
    }
    assert all(abs(one["error %"]) < 0.1 for one in measured)
    assert "3 of 3 trainings were measured" in grid[-1]["text"]
    # No more files come back from a lent machine.
    assert len(list(out.iterdir())) <= 8
