"""The step `baseline`: how well the base model predicts what was held out."""

import logging
from dataclasses import asdict
from pathlib import Path

from retune.artifacts.model_facts import ModelFacts
from retune.publishing import write_sealed
from retune.quantities import counted
from retune.scoring.document_scores import (
    NOT_READ,
    SPLITS,
    documents_of,
    read_documents,
    score_documents,
    summarize,
    write_scores,
)
from retune.scoring.document_tokens import encode_documents
from retune.scoring.language_model import load_model
from retune.scoring.perplexity import resolve_protocol
from retune.settings import EvaluateSettings
from retune.tokens.tokenizer import ModelTokenizer
from retune.verifying import verify_folder

log = logging.getLogger(__name__)


def run(
    settings: EvaluateSettings,
    accelerator: str,
    base: Path,
    clean: Path,
    documents: Path,
    metrics: Path,
) -> str:
    """Score validation and test; write a row per document and the sums.

    Args:
        settings: The `evaluate` section.
        accelerator: What to compute on, `accelerator` of the `hardware` section.
        base: Folder of the base model that fetch made (models/base).
        clean: Folder of the splits that prepare made (data/clean).
        documents: Parquet file to write: a score per document
            (results/baseline/documents.parquet).
        metrics: JSON file to write: the sums (metrics/baseline.json).
    """
    verify_folder(clean, "prepare", leave_out=NOT_READ)
    verify_folder(base, "fetch")
    held_out = read_documents(clean)
    facts = ModelFacts.read(base)
    tokens = encode_documents(ModelTokenizer.of(base, facts), held_out)
    language_model = load_model(base, facts, accelerator)
    protocol = resolve_protocol(settings, language_model)
    log.info("%s", protocol)
    scores = score_documents(
        "baseline", language_model, held_out, tokens, protocol, settings.batch_size
    )
    sums = {split: summarize(documents_of(scores, split)) for split in SPLITS}
    write_scores(documents, scores)
    write_sealed(metrics, {"protocol": asdict(protocol), **sums}, [documents])
    test = sums["test"]
    documents_scored = counted(test["documents"], "document")
    return f"bits per byte {test['bits_per_byte']:.2f} on {documents_scored}"
