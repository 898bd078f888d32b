"""What a finished run left behind, as the model card and the report show it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.artifacts.data_metrics import DataMetrics
from retune.artifacts.evaluation_metrics import BaselineMetrics, EvaluationMetrics
from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.artifacts.origins import DataOrigin, ModelOrigin
from retune.artifacts.plan import Plan, Reasons
from retune.artifacts.publishing import MANIFEST, sha256
from retune.artifacts.samples import Samples
from retune.artifacts.tokens_card import TokensCard
from retune.artifacts.tokens_index import TokenMetrics
from retune.artifacts.training_history import StepHistory, ValidationHistory
from retune.artifacts.verifying import verify_folder
from retune.planning.score import Score
from retune.reporting.terms import CONVERSATIONS, EXAMPLES, TEXTS, Terms
from retune.settings import Params, RunSettings

# The large files of data/tokens, which the report does not read.
LARGE = ("*.bin", "*.npy")


@dataclass(frozen=True)
class RunResults:
    """One run: its settings, and what its steps measured.

    Attributes:
        settings: Sections of params.yaml that decided the run.
        raw: Origin of the dataset, from the manifest of data/raw.
        base: Origin of the base model, from the manifest of models/base.
        manifest_sha256: Hash of each of these two manifests, by folder.
        data: Numbers of the documents, metrics/data.json.
        tokens: Numbers of the tokens, metrics/tokens.json.
        plan: Plan of the training, plan/plan.json.
        history: What each step measured, results/finetune/history.csv.
        validation: Validation losses, results/finetune/validation.csv.
        finetune: Numbers of the training, metrics/finetune.json.
        evaluation: The tuned against the base model, metrics/evaluation.json.
        samples: Texts of both models, results/sample/samples.json.
    """

    settings: RunSettings
    raw: DataOrigin
    base: ModelOrigin
    manifest_sha256: dict[str, str]
    data: DataMetrics
    tokens: TokenMetrics
    plan: Plan
    history: StepHistory
    validation: ValidationHistory
    finetune: FinetuneMetrics
    evaluation: EvaluationMetrics
    samples: Samples

    @property
    def terms(self) -> Terms:
        """What the documents are called, and the measure of them."""
        if self.data.kind == "text":
            return TEXTS
        is_chat = self.evaluation.protocol.chat_template_sha256 is not None
        return CONVERSATIONS if is_chat else EXAMPLES

    @property
    def first_validation_loss(self) -> float:
        """Validation loss before the first step, nats per token."""
        return float(self.validation.validation_loss[0])

    @property
    def peak_learning_rate(self) -> float:
        """Highest learning rate of a step; the settings may say `auto`."""
        return float(np.max(self.history.learning_rate))


@dataclass(frozen=True)
class ReportResults(RunResults):
    """One run with all that the report shows of it, and the model card does not.

    Attributes:
        settings: All sections of params.yaml.
        card: Lengths of the token sequences and a few of them, data/tokens/card.json.
        reasons: Reasons for the plan, plan/reasons.json.
        base_documents: Scores of the base model, a row per held-out document.
        tuned_documents: Scores of the tuned model, with the same rows.
    """

    settings: Params
    card: TokensCard
    reasons: Reasons
    base_documents: pa.Table
    tuned_documents: pa.Table

    @property
    def score(self) -> Score:
        """What was predicted of the training beside what was measured."""
        return Score.of(self.plan, self.reasons, self.finetune)


def read_results(
    settings: RunSettings,
    *,
    raw: Path,
    base: Path,
    data_metrics: Path,
    token_metrics: Path,
    plan: Path,
    history: Path,
    validation: Path,
    finetune_metrics: Path,
    evaluation: Path,
    samples: Path,
) -> RunResults:
    """Read a run's files, once they are what the steps wrote."""
    return RunResults(
        settings=settings,
        raw=DataOrigin.read_from(raw),
        base=ModelOrigin.read_from(base),
        manifest_sha256={
            "data/raw": sha256(raw / MANIFEST),
            "models/base": sha256(base / MANIFEST),
        },
        data=DataMetrics.read_verified(data_metrics),
        tokens=TokenMetrics.read_verified(token_metrics),
        plan=Plan.read_verified(plan),
        finetune=FinetuneMetrics.read_verified(finetune_metrics, history, validation),
        history=StepHistory.read(history),
        validation=ValidationHistory.read(validation),
        evaluation=EvaluationMetrics.read_verified(evaluation),
        samples=Samples.read_verified(samples),
    )


def read_report_results(
    settings: Params,
    run: RunResults,
    *,
    tokens: Path,
    reasons: Path,
    baseline_metrics: Path,
    baseline_documents: Path,
    tuned_documents: Path,
    evaluation: Path,
) -> ReportResults:
    """Read what the report shows besides, once it is what the steps wrote."""
    BaselineMetrics.read_verified(baseline_metrics, baseline_documents)
    EvaluationMetrics.read_verified(evaluation, tuned_documents)
    verify_folder(tokens, "tokenize", leave_out=LARGE)
    return ReportResults(
        **{**vars(run), "settings": settings},
        card=TokensCard.read(tokens),
        reasons=Reasons.read_verified(reasons),
        base_documents=pq.read_table(baseline_documents),
        tuned_documents=pq.read_table(tuned_documents),
    )


def bits_per_byte_of_test(scores: pa.Table) -> np.ndarray:
    """Return the bits per byte of each test document, float64 [documents]."""
    test = scores.filter(pc.equal(scores["split"], "test"))
    return test["nll"].to_numpy() / math.log(2) / test["bytes"].to_numpy()
