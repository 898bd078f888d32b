"""The step `evaluate`: the tuned model against the base model, on the same bytes."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.evaluation_metrics import (
    BaselineMetrics,
    Comparison,
    ComparisonWithFloors,
    EvaluationMetrics,
    ExactMatch,
    ExactMatches,
    Floors,
    NoComparison,
    ScoringProtocol,
)
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.verifying import WEIGHTS, verify_folder
from retune.errors import RetuneError
from retune.evaluation.bootstrap import bits_per_byte_change, win_rate
from retune.evaluation.document_scores import (
    NOT_READ,
    documents_of,
    examples_of,
    have_answers,
    read_documents,
    score_documents,
    total_scores,
    write_scores,
)
from retune.evaluation.document_tokens import (
    chat_template_hash,
    check_same_as_training,
    encode_documents,
)
from retune.evaluation.exact_match import measure_exact_match
from retune.evaluation.model_copies import opened
from retune.evaluation.perplexity import resolve_protocol
from retune.evaluation.placement import find_placements, log_placements
from retune.quantities import change_line
from retune.settings import EvaluateSettings
from retune.tokens.sequences import TokenSequence
from retune.tokens.store import COUNTS, read_counts
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)

RUN_BASELINE_AGAIN = "run baseline again"
# Files of data/tokens that this step does not read.
TOKENS_NOT_READ = ("train.*.bin",)


def run(
    settings: EvaluateSettings,
    accelerator: str,
    ranks_per_node: str,
    consolidated: Path,
    base: Path,
    clean: Path,
    tokens: Path,
    baseline_documents: Path,
    baseline_metrics: Path,
    documents: Path,
    metrics: Path,
) -> str:
    """Score the tuned model, and compare it with the baseline.

    Args:
        settings: The `evaluate` section.
        accelerator: What to compute on, `accelerator` of the `hardware` section.
        ranks_per_node: How many of this machine's GPUs to use, `ranks_per_node` of the
            `hardware` section.
        consolidated: Folder of the tuned model that consolidate made
            (models/consolidated).
        base: Folder of the base model that fetch made (models/base).
        clean: Folder of the splits that prepare made (data/clean).
        tokens: Folder of the tokens that tokenize made (data/tokens).
        baseline_documents: Scores of the base model that baseline wrote
            (results/baseline/documents.parquet).
        baseline_metrics: Their sums, which baseline wrote (metrics/baseline.json).
        documents: Parquet file to write: a score per document
            (results/evaluate/documents.parquet).
        metrics: JSON file to write: sums, and the change with its interval
            (metrics/evaluation.json).

    Returns:
        The change of the bits per byte with its interval, for people.

    Raises:
        RetuneError: If an input is damaged, or the baseline scored other documents, or
            scored them otherwise, or the model does not fit the GPUs.
    """
    verify_folder(consolidated, "consolidate")
    verify_folder(base, "fetch", leave_out=[WEIGHTS])
    verify_folder(clean, "prepare", leave_out=NOT_READ)
    verify_folder(tokens, "tokenize", leave_out=TOKENS_NOT_READ)
    baseline = BaselineMetrics.read_verified(baseline_metrics, baseline_documents)
    held_out = read_documents(clean)
    base_scores = pq.read_table(baseline_documents)
    check_same_documents(held_out, base_scores, baseline_documents)
    facts = ModelFacts.read(base)

    tokenizer = ModelTokenizer.of(consolidated, facts)
    encoded = encode_documents(tokenizer, facts, held_out)
    check_same_as_training(tokenizer, held_out, encoded, tokens)
    placements = find_placements(settings.dtype, facts, accelerator, ranks_per_node)
    log_placements(placements)
    with opened(consolidated, facts, placements) as language_model:
        protocol = resolve_protocol(
            settings, language_model, chat_template_hash(consolidated, held_out)
        )
        log.info("%s", protocol)
        check_same_protocol(protocol, baseline.protocol)
        scores = score_documents(
            *("evaluate", language_model, held_out, encoded),
            *(protocol, settings.batch_size),
        )
        check_same_tokens(scores, base_scores, baseline_documents)
        exact_match = measure_exact_match(
            *("evaluate", language_model),
            *(examples_of(documents_of(held_out, "test")), settings),
        )
    on_test = compare(
        documents_of(base_scores, "test"), documents_of(scores, "test"), settings
    )
    test = ComparisonWithFloors(
        **dict(on_test), floors=floors(tokens, encoded, held_out)
    )
    validation = compare_if_any(
        documents_of(base_scores, "validation"),
        documents_of(scores, "validation"),
        settings,
    )
    evaluation = EvaluationMetrics(
        protocol=protocol,
        validation=validation,
        test=test,
        exact_match=compare_exact_match(baseline.exact_match, exact_match),
    )
    write_scores(documents, scores)
    evaluation.write(metrics, documents)
    return result_line(evaluation, have_answers(held_out))


def result_line(evaluation: EvaluationMetrics, has_answers: bool) -> str:
    """Return the change of the scores on the test documents, for people."""
    test, exact_match = evaluation.test, evaluation.exact_match
    change = change_line(
        test.base.bits_per_byte,
        test.tuned.bits_per_byte,
        test.bits_per_byte_change_low,
        test.bits_per_byte_change_high,
    )
    line = f"bits per byte{' of answers' if has_answers else ''} {change}"
    if exact_match:
        base, tuned = exact_match.base, exact_match.tuned
        line += (
            f"; exactly right: {base.matches:,} -> {tuned.matches:,} of"
            f" {tuned.examples:,} short answers"
        )
    return line


def check_same_documents(
    held_out: pa.Table, base_scores: pa.Table, source: Path
) -> None:
    """Raise RetuneError unless the baseline scored these documents, byte for byte."""
    columns = ["split", "id", "bytes"]
    if not held_out.select(columns).equals(base_scores.select(columns)):
        raise RetuneError(
            f"{source}: the baseline scored other documents ({base_scores.num_rows})"
            f" than are held out now ({held_out.num_rows}): {RUN_BASELINE_AGAIN}"
        )


def check_same_protocol(protocol: ScoringProtocol, base: ScoringProtocol) -> None:
    """Raise RetuneError if the baseline was scored by another protocol.

    The device may differ, where `hardware.accelerator` is `auto`.
    """
    differing = [
        f"{name} {before}, now {now}"
        for name, before in base
        if name != "device" and before != (now := getattr(protocol, name))
    ]
    if differing:
        raise RetuneError(
            "the baseline was scored by another protocol"
            f" ({'; '.join(differing)}): {RUN_BASELINE_AGAIN}"
        )


def check_same_tokens(scores: pa.Table, base_scores: pa.Table, source: Path) -> None:
    """Raise RetuneError unless both models were asked for as many tokens."""
    if not scores["tokens"].equals(base_scores["tokens"]):
        raise RetuneError(
            f"{source}: the baseline counted other tokens than the same tokenizer gives"
            f" now: {RUN_BASELINE_AGAIN}"
        )


def compare_exact_match(
    base: ExactMatch | None, tuned: ExactMatch | None
) -> ExactMatches | None:
    """Return how often both models answer what the data has.

    Raises:
        RetuneError: If the baseline answered other examples.
    """
    answered = [match.examples if match else 0 for match in (base, tuned)]
    if answered[0] != answered[1]:
        raise RetuneError(
            f"the baseline answered {answered[0]} examples, now there are"
            f" {answered[1]} (evaluate.exact_match_examples): {RUN_BASELINE_AGAIN}"
        )
    return ExactMatches(base=base, tuned=tuned) if base and tuned else None


def compare_if_any(
    base: pa.Table, tuned: pa.Table, settings: EvaluateSettings
) -> Comparison | NoComparison:
    """Return the comparison on a split, which may have no document."""
    return compare(base, tuned, settings) if base.num_rows else NoComparison()


def compare(base: pa.Table, tuned: pa.Table, settings: EvaluateSettings) -> Comparison:
    """Return both models' sums on one split, and the change with its 95 % interval."""
    base_nll, tuned_nll = base["nll"].to_numpy(), tuned["nll"].to_numpy()
    change = bits_per_byte_change(
        base_nll,
        tuned_nll,
        base["bytes"].to_numpy(),
        settings.bootstrap_draws,
        settings.seed,
    )
    return Comparison(
        base=total_scores(base),
        tuned=total_scores(tuned),
        bits_per_byte_change=change.change,
        bits_per_byte_change_low=change.low,
        bits_per_byte_change_high=change.high,
        win_rate=win_rate(base_nll, tuned_nll),
    )


def floors(
    tokens: Path, encoded: Sequence[Sequence[TokenSequence]], documents: pa.Table
) -> Floors:
    """Return what a model must beat, in bits per byte of the test documents.

    `uniform` finds every token of the model's vocabulary equally likely; `unigram` goes
    by how often each occurs in train, with add-one smoothing.

    Args:
        tokens: Folder of the tokens that tokenize made.
        encoded: Sequences of each document, whose trained tokens are scored.
        documents: The documents of all splits, in the same order.
    """
    counts = read_counts(tokens)
    splits = documents["split"].to_pylist()
    stream = np.concatenate(
        [
            sequence.ids[sequence.trained]
            for sequences, split in zip(encoded, splits, strict=True)
            if split == "test"
            for sequence in sequences
        ]
    )
    if stream.max(initial=0) >= len(counts):
        raise RetuneError(
            f"{tokens / COUNTS} counts {len(counts)} tokens, but the"
            f" tokenizer gives id {stream.max()}: run tokenize again"
        )
    num_bytes = sum(documents_of(documents, "test")["bytes"].to_pylist())
    bits = math.log2(counts.sum() + len(counts)) - np.log2(counts + 1)
    return Floors(
        uniform_bits_per_byte=math.log2(len(counts)) * len(stream) / num_bytes,
        unigram_bits_per_byte=float(bits[stream].sum() / num_bytes),
    )
