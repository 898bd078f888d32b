"""Tiny models and documents on which `baseline` and `evaluate` run."""

import json
from pathlib import Path

from retune.artifacts.model_facts import FILE as FACTS
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import (
    FILES,
    SEAL,
    read_json,
    write_manifest,
    write_sealed,
)
from retune.settings import SPLITS, EvaluateSettings, SampleSettings
from retune.steps import baseline, evaluate, sample
from retune.steps.tokenize import write_split
from retune.tokens.store import write_counts
from retune.tokens.tokenizer import ModelTokenizer
from tiny_models import SENTENCES, build_tiny_model, write_splits
from token_files import make_index

SETTINGS = EvaluateSettings(bootstrap_draws=200)
SAMPLE_SETTINGS = SampleSettings(prompts=["Return the", ""], max_new_tokens=6)
SAMPLES = "results/sample/samples.json"
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
    counts = {
        split: write_split(
            root / f"data/clean/{split}.parquet",
            tokens,
            split,
            ModelTokenizer.of(base, facts),
            facts,
        )
        for split in SPLITS
    }
    index = make_index(counts["train"].tokens)
    index.write(tokens)
    write_counts(tokens, index)


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
        metrics=root / "metrics/evaluation.json",
    )


def run_sample(root: Path, settings: SampleSettings = SAMPLE_SETTINGS) -> str:
    seal_folders(root)
    return sample.run(
        settings,
        "cpu",
        consolidated=root / "models/consolidated",
        base=root / "models/base",
        clean=root / "data/clean",
        samples=root / SAMPLES,
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
