"""The step `baseline`: how well the base model predicts what was held out."""

import logging
from dataclasses import asdict
from pathlib import Path

from retune.publishing import write_json
from retune.scoring.document_scores import (
    SPLITS,
    documents_of,
    read_documents,
    score_documents,
    summarize,
    write_scores,
)
from retune.scoring.language_model import load_model
from retune.scoring.perplexity import resolve_protocol
from retune.settings import EvaluateSettings

log = logging.getLogger(__name__)


def run(
    settings: EvaluateSettings, base: Path, clean: Path, documents: Path, metrics: Path
) -> str:
    """Score validation and test; write a row per document and the sums."""
    held_out = read_documents(clean)
    language_model = load_model(base)
    protocol = resolve_protocol(settings, language_model)
    log.info("%s", protocol)
    scores = score_documents(
        "baseline", language_model, held_out, protocol, settings.batch_size
    )
    sums = {split: summarize(documents_of(scores, split)) for split in SPLITS}
    write_scores(documents, scores)
    write_json(metrics, {"protocol": asdict(protocol), **sums})
    test = sums["test"]
    return (
        f"bits per byte {test['bits_per_byte']:.2f} on {test['documents']:,} documents"
    )
