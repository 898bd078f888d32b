"""What a finished run left behind, read once for the figures, tables and card."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.publishing import MANIFEST, read_json, sha256
from retune.settings import Params
from retune.verifying import read_verified


@dataclass(frozen=True)
class RunResults:
    """One run: its settings, and what its steps measured.

    Attributes:
        settings: All of params.yaml.
        raw: Manifest of data/raw.
        base: Manifest of models/base.
        manifest_sha256: Of these two manifests, by folder.
        data: metrics/data.json.
        tokens: metrics/tokens.json.
        plan: plan/plan.json.
        history: Column -> float64 [steps].
        validation: Column -> float64 [validations].
        finetune: metrics/finetune.json.
        evaluation: metrics/evaluation.json.
        samples: results/evaluate/samples.json.
        base_documents: Scores of the base model, a row per held-out document.
        tuned_documents: Scores of the tuned model, the same rows.
    """

    settings: Params
    raw: dict[str, Any]
    base: dict[str, Any]
    manifest_sha256: dict[str, str]
    data: dict[str, Any]
    tokens: dict[str, Any]
    plan: dict[str, Any]
    history: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    finetune: dict[str, Any]
    evaluation: dict[str, Any]
    samples: dict[str, Any]
    base_documents: pa.Table
    tuned_documents: pa.Table

    @property
    def first_validation_loss(self) -> float:
        """Validation loss before the first step, nats per token."""
        return float(self.validation["validation_loss"][0])

    @property
    def peak_learning_rate(self) -> float:
        """Highest learning rate of a step; the settings may say `auto`."""
        return float(np.max(self.history["learning_rate"]))

    @property
    def raw_documents(self) -> int:
        """Documents that `download` brought: what is left and what was removed."""
        return (
            sum(self.data["documents"].values())
            + self.data["rejected"]["count"]
            + self.data["duplicates_removed"]
            + sum(self.data["overlap"]["removed"].values())
        )


def read_results(
    settings: Params,
    raw: Path,
    base: Path,
    data_metrics: Path,
    token_metrics: Path,
    plan: Path,
    history: Path,
    validation: Path,
    finetune_metrics: Path,
    baseline_metrics: Path,
    baseline_documents: Path,
    tuned_documents: Path,
    evaluation: Path,
    samples: Path,
) -> RunResults:
    """Read a run's files, once they are what the steps wrote."""
    finetuned = read_verified(finetune_metrics, "finetune", history, validation)
    read_verified(baseline_metrics, "baseline", baseline_documents)
    evaluated = read_verified(evaluation, "evaluate", tuned_documents, samples)
    return RunResults(
        settings=settings,
        raw=read_verified(raw / MANIFEST, "download"),
        base=read_verified(base / MANIFEST, "fetch"),
        manifest_sha256={
            "data/raw": sha256(raw / MANIFEST),
            "models/base": sha256(base / MANIFEST),
        },
        data=read_verified(data_metrics, "prepare"),
        tokens=read_verified(token_metrics, "tokenize"),
        plan=read_verified(plan, "configure"),
        history=read_columns(history),
        validation=read_columns(validation),
        finetune=finetuned,
        evaluation=evaluated,
        samples=read_json(samples),
        base_documents=pq.read_table(baseline_documents),
        tuned_documents=pq.read_table(tuned_documents),
    )


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file of numbers, float64."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]
    }


def bits_per_byte_of_test(scores: pa.Table) -> np.ndarray:
    """Return the bits per byte of each test document, float64 [documents]."""
    test = scores.filter(pc.equal(scores["split"], "test"))
    return test["nll"].to_numpy() / math.log(2) / test["bytes"].to_numpy()
