"""The step `baseline`: how well the base model predicts what was held out."""

import logging
from pathlib import Path

from retune.artifacts.evaluation_metrics import BaselineMetrics
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.verifying import verify_folder
from retune.evaluation.document_scores import (
    NOT_READ,
    documents_of,
    examples_of,
    have_answers,
    read_documents,
    score_documents,
    total_scores,
    total_scores_if_any,
    write_scores,
)
from retune.evaluation.document_tokens import chat_template_hash, encode_documents
from retune.evaluation.exact_match import measure_exact_match
from retune.evaluation.model_copies import opened
from retune.evaluation.perplexity import resolve_protocol
from retune.evaluation.placement import find_placements, log_placements
from retune.quantities import counted
from retune.settings import ScoringSettings
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)


def run(
    settings: ScoringSettings,
    accelerator: str,
    ranks_per_node: str,
    base: Path,
    clean: Path,
    documents: Path,
    metrics: Path,
) -> str:
    """Score validation and test; write a row per document and the sums.

    Args:
        settings: What decides scores, of the `evaluate` section.
        accelerator: What to compute on, `accelerator` of the `hardware` section.
        ranks_per_node: How many of this machine's GPUs to use, `ranks_per_node` of the
            `hardware` section.
        base: Folder of the base model that fetch made (models/base).
        clean: Folder of the splits that prepare made (data/clean).
        documents: Parquet file to write: a score per document
            (results/baseline/documents.parquet).
        metrics: JSON file to write: the sums (metrics/baseline.json).

    Returns:
        The bits per byte of the test documents, for people.

    Raises:
        RetuneError: If an input is damaged, or the model does not fit the GPUs.
    """
    verify_folder(clean, "prepare", leave_out=NOT_READ)
    verify_folder(base, "fetch")
    held_out = read_documents(clean)
    facts = ModelFacts.read(base)
    encoded = encode_documents(ModelTokenizer.of(base, facts), facts, held_out)
    placements = find_placements(settings.dtype, facts, accelerator, ranks_per_node)
    log_placements(placements)
    with opened(base, facts, placements) as language_model:
        protocol = resolve_protocol(
            settings, language_model, chat_template_hash(base, held_out)
        )
        log.info("%s", protocol)
        scores = score_documents(
            "baseline", language_model, held_out, encoded, protocol, settings.batch_size
        )
        exact_match = measure_exact_match(
            *("baseline", language_model),
            *(examples_of(documents_of(held_out, "test")), settings),
        )
    test = total_scores(documents_of(scores, "test"))
    validation = total_scores_if_any(documents_of(scores, "validation"))
    write_scores(documents, scores)
    baseline = BaselineMetrics(
        protocol=protocol, validation=validation, test=test, exact_match=exact_match
    )
    baseline.write(metrics, documents)
    return result_line(baseline, have_answers(held_out))


def result_line(baseline: BaselineMetrics, has_answers: bool) -> str:
    """Return the scores of the test documents, for people."""
    test, exact_match = baseline.test, baseline.exact_match
    if not has_answers:
        scored = counted(test.documents, "document")
        return f"bits per byte {test.bits_per_byte:.2f} on {scored}"
    scored = counted(test.documents, "example")
    line = f"bits per byte of answers {test.bits_per_byte:.2f} on {scored}"
    if exact_match:
        answered = f"{exact_match.matches:,} of {exact_match.examples:,}"
        line += f"; exactly right: {answered} short answers"
    return line
