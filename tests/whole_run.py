"""A tiny run of all steps, whose files lie where the workflow has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from retune.artifacts.publishing import write_manifest
from retune.settings import (
    Params,
    PrecisionSettings,
    RunSettings,
    ScoringSettings,
    TrainedWeightsSettings,
)
from retune.settings.params import read_params
from retune.steps import (
    baseline,
    configure,
    consolidate,
    evaluate,
    finetune,
    prepare,
    publish,
    report,
    sample,
    tokenize,
)
from tiny_run import make_base, make_texts

SETTINGS: dict[str, Any] = {
    "dataset": "builtin",
    "model": "builtin",
    "prepare": {"validation_share": 0.1, "test_share": 0.1, "overlap_words": 0},
    "tokenize": {"sequence_length": 16},
    "hardware": {"accelerator": "cpu", "ranks_per_node": 2},
    "configure": {"global_batch_size": 4},
    "finetune": {"max_steps": 1},
    "evaluate": {"bootstrap_draws": 100},
    "sample": {"prompts": ["red is"], "max_new_tokens": 2},
}
# What each step's `run` is given beside its settings: under these names what is read
# and what is written, as dvc.yaml has it.
BASE = {"base": "models/base"}
CLEAN = {"clean": "data/clean"}
TOKENS = {"tokens": "data/tokens"}
BASELINE = {
    "baseline_documents": "results/baseline/documents.parquet",
    "baseline_metrics": "metrics/baseline.json",
}
OPERATIONS = {"operations": "results/finetune/operations.json"}
SAMPLES = {"samples": "results/sample/samples.json"}
HISTORY = {
    name: f"results/finetune/{name}.csv" for name in ("history", "validation")
} | {"provenance": "results/finetune/provenance.json"}
# What the report and the model card show of a run.
RESULTS = {
    "raw": "data/raw",
    **BASE,
    "data_metrics": "metrics/data.json",
    "token_metrics": "metrics/tokens.json",
    "plan": "plan/plan.json",
    **HISTORY,
    "finetune_metrics": "metrics/finetune.json",
    "evaluation": "metrics/evaluation.json",
    **SAMPLES,
}
READS: dict[str, dict[str, str]] = {
    "prepare": {"raw": "data/raw"},
    "tokenize": CLEAN | BASE,
    "configure": BASE | {"token_metrics": "metrics/tokens.json"},
    "finetune": BASE | TOKENS | {"plan": "plan"},
    "consolidate": BASE | {"checkpoint": "results/finetune/checkpoint"},
    "baseline": BASE | CLEAN,
    "evaluate": {
        "consolidated": "models/consolidated",
        **BASE,
        **CLEAN,
        **TOKENS,
        **BASELINE,
    },
    "report": {
        **RESULTS,
        **OPERATIONS,
        **TOKENS,
        "reasons": "plan/reasons.json",
        **BASELINE,
        "tuned_documents": "results/evaluate/documents.parquet",
    },
    "sample": {"consolidated": "models/consolidated", **BASE, **CLEAN},
    "publish": {"consolidated": "models/consolidated", **RESULTS},
}
WRITES: dict[str, dict[str, str]] = {
    "prepare": CLEAN | {"metrics": "metrics/data.json"},
    "tokenize": TOKENS | {"metrics": "metrics/tokens.json"},
    "configure": {"plan": "plan"},
    "finetune": {
        "state": "state",
        "checkpoint": "results/finetune/checkpoint",
        **HISTORY,
        **OPERATIONS,
        "metrics": "metrics/finetune.json",
    },
    "consolidate": {"consolidated": "models/consolidated"},
    "baseline": {
        "documents": "results/baseline/documents.parquet",
        "metrics": "metrics/baseline.json",
    },
    "evaluate": {
        "documents": "results/evaluate/documents.parquet",
        "metrics": "metrics/evaluation.json",
    },
    "sample": SAMPLES,
    "report": {
        "figures": "report",
        "page": "report.html",
    },
    "publish": {"tuned": "models/tuned"},
}
RUN: dict[str, Callable[..., str]] = {
    "prepare": prepare.run,
    "tokenize": tokenize.run,
    "configure": configure.run,
    "finetune": finetune.run,
    "consolidate": consolidate.run,
    "baseline": baseline.run,
    "evaluate": evaluate.run,
    "sample": sample.run,
    "report": report.run,
    "publish": publish.run,
}


def run_step(step: str, folder: Path, target: Path) -> str:
    """Run a step that reads from one folder and writes into another."""
    paths = {name: folder / path for name, path in READS[step].items()}
    paths |= {name: target / path for name, path in WRITES[step].items()}
    return RUN[step](**settings_of(step), **paths)


def settings_of(step: str) -> dict[str, Any]:
    """Return what a step is given of the settings."""
    params: Params = read_params(SETTINGS)
    match step:
        case "report":
            return {"settings": params}
        case "baseline":
            scoring = ScoringSettings.part_of(params.evaluate)
            return {"settings": scoring, **devices_of(params)}
        case "evaluate":
            return {"settings": params.evaluate, **devices_of(params)}
        case "sample":
            precision = PrecisionSettings.part_of(params.evaluate)
            settings = {"settings": params.sample, "precision": precision}
            return {**settings, **devices_of(params)}
        case "publish":
            return {"settings": RunSettings.part_of(params)}
        case "configure":
            trained = TrainedWeightsSettings.part_of(params.finetune)
            settings = {"settings": params.configure, "hardware": params.hardware}
            return {**settings, "trained": trained}
        case "finetune":
            nvme_path = params.hardware.nvme_path or ""
            return {"settings": params.finetune, "nvme_path": nvme_path}
    return {"settings": getattr(params, step)}


def devices_of(params: Params) -> dict[str, str]:
    """Return what baseline, evaluate and sample are given of the machine."""
    hardware = params.hardware
    ranks_per_node = str(hardware.ranks_per_node)
    return {"accelerator": hardware.accelerator, "ranks_per_node": ranks_per_node}


def make_whole_run(folder: Path) -> None:
    """Run all steps; the first two have no network to ask, and are made up."""
    raw = folder / "data/raw"
    raw.mkdir(parents=True)
    texts = [f"Text {i}: {text}" for i, text in enumerate(make_texts(80))]
    ids = [f"train-{i}" for i in range(len(texts))]
    frame = pl.DataFrame({"id": ids, "group": ids, "text": texts})
    frame.write_parquet(raw / "train.parquet")
    write_manifest(raw, source="builtin", licence="none")
    make_base(folder / "models/base")
    for step in RUN:
        run_step(step, folder, folder)
