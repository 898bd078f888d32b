"""Tiny models and documents on which `baseline` and `evaluate` run."""

import json
from pathlib import Path

import numpy as np

from retune import baseline, evaluate
from retune.artifacts.model_facts import FILE as FACTS
from retune.artifacts.model_facts import ModelFacts
from retune.publishing import (
    FILES,
    SEAL,
    read_json,
    write_json,
    write_manifest,
    write_sealed,
)
from retune.settings import SPLITS, EvaluateSettings
from retune.tokenize import count_tokens, write_split
from retune.tokens.tokenizer import ModelTokenizer
from tiny_models import SENTENCES, build_tiny_model, write_splits

SETTINGS = EvaluateSettings(
    bootstrap_draws=200, prompts=["Return the", ""], max_new_tokens=6
)
TEST_TEXTS = [
    "Return an empty list.",
    "  The module writes the number of items – naïve.",
    SENTENCES[1] * 3,
]


def sharpen(model) -> None:
    """Make a model that differs from the base: its last layer speaks louder."""
    model.transformer.ln_f.weight.mul_(0.3)


def make_inputs(root: Path) -> None:
    """Make what both steps read, and the baseline's results."""
    build_tiny_model(root / "models/base")
    build_tiny_model(root / "models/consolidated", change=sharpen)
    (root / "models/consolidated" / FACTS).unlink()
    write_splits(
        root / "data/clean", train=SENTENCES, validation=SENTENCES[2:], test=TEST_TEXTS
    )
    make_tokens(root)
    run_baseline(root)


def make_tokens(root: Path) -> None:
    """Write what `evaluate` reads of `tokenize`, which refuses so few tokens."""
    base, tokens = root / "models/base", root / "data/tokens"
    facts = ModelFacts.read(base)
    tokens.mkdir(exist_ok=True)
    for split in SPLITS:
        write_split(
            root / f"data/clean/{split}.parquet",
            tokens,
            split,
            ModelTokenizer.of(base, facts),
            facts,
        )
    write_json(tokens / "tokens.json", {"dtype": "<u2"})
    counts = count_tokens(tokens / "train.tokens.bin", np.dtype("<u2"), 300)
    np.save(tokens / "train.counts.npy", counts)


def run_baseline(root: Path, settings: EvaluateSettings = SETTINGS) -> str:
    seal_folders(root)
    return baseline.run(
        settings,
        "cpu",
        base=root / "models/base",
        clean=root / "data/clean",
        documents=root / "results/baseline/documents.parquet",
        metrics=root / "metrics/baseline.json",
    )


def run_evaluate(root: Path, settings: EvaluateSettings = SETTINGS) -> str:
    seal_folders(root)
    metrics = read_json(root / "metrics/baseline.json")
    values = {k: v for k, v in metrics.items() if k not in (FILES, SEAL)}
    documents = root / "results/baseline/documents.parquet"
    write_sealed(root / "metrics/baseline.json", values, [documents])
    return evaluate.run(
        settings,
        "cpu",
        consolidated=root / "models/consolidated",
        base=root / "models/base",
        clean=root / "data/clean",
        tokens=root / "data/tokens",
        baseline_documents=root / "results/baseline/documents.parquet",
        baseline_metrics=root / "metrics/baseline.json",
        documents=root / "results/evaluate/documents.parquet",
        samples=root / "results/evaluate/samples.json",
        metrics=root / "metrics/evaluation.json",
    )


def seal_folders(root: Path) -> None:
    """Leave folders as their steps do, whatever a test has changed in them."""
    for folder in root.glob("*/*"):
        if folder.parent.name in ("models", "data"):
            write_manifest(folder)


def strict_json(path: Path):
    """Read JSON as its standard has it, without NaN and Infinity."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)
