"""The step `evaluate`: the tuned model against the base model, on the same bytes."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.publishing import write_json, write_sealed
from retune.quantities import change_line
from retune.scoring.bootstrap import bits_per_byte_change, win_rate
from retune.scoring.document_scores import (
    NOT_READ,
    documents_of,
    read_documents,
    score_documents,
    summarize,
    write_scores,
)
from retune.scoring.document_tokens import check_same_as_training, encode_documents
from retune.scoring.language_model import LanguageModel, load_model
from retune.scoring.perplexity import Protocol, resolve_protocol
from retune.scoring.prompts import find_prompts
from retune.scoring.samples import (
    GREEDY,
    SAMPLED,
    check_prompts,
    continue_prompts,
    fits,
)
from retune.settings import EvaluateSettings
from retune.tokens.tokenizer import ModelTokenizer
from retune.verifying import read_verified, verify_folder

log = logging.getLogger(__name__)

AGAIN = "run baseline again"
# Of data/tokens.
TOKENS_NOT_READ = ("train.*.bin",)


def run(
    settings: EvaluateSettings,
    accelerator: str,
    consolidated: Path,
    base: Path,
    clean: Path,
    tokens: Path,
    baseline_documents: Path,
    baseline_metrics: Path,
    documents: Path,
    samples: Path,
    metrics: Path,
) -> str:
    """Score the tuned model, compare it with the baseline, let both write samples.

    Args:
        settings: The `evaluate` section.
        accelerator: What to compute on, `accelerator` of the `hardware` section.
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
        samples: JSON file to write: how both models go on from the prompts
            (results/evaluate/samples.json).
        metrics: JSON file to write: sums, and the change with its interval
            (metrics/evaluation.json).
    """
    verify_folder(consolidated, "consolidate")
    verify_folder(base, "fetch")
    verify_folder(clean, "prepare", leave_out=NOT_READ)
    verify_folder(tokens, "tokenize", leave_out=TOKENS_NOT_READ)
    baseline = read_verified(baseline_metrics, "baseline", baseline_documents)
    held_out = read_documents(clean)
    base_scores = pq.read_table(baseline_documents)
    check_same_documents(held_out, base_scores, baseline_documents)
    base_protocol = Protocol(**baseline["protocol"])

    facts = ModelFacts.read(base)

    tokenizer = ModelTokenizer.of(consolidated, facts)
    encoded = encode_documents(tokenizer, held_out)
    check_same_as_training(tokenizer, facts, held_out, encoded, tokens)
    prompts = find_prompts(
        settings,
        documents_of(held_out, "test")["text"].to_pylist(),
        lambda prompt: fits(prompt, tokenizer, facts, settings),
    )
    check_prompts(prompts, tokenizer, facts, settings)
    protocol, scores, tuned_texts = score_and_sample(
        settings,
        prompts,
        lambda: load_model(consolidated, facts, accelerator),
        held_out,
        encoded,
        base_protocol,
    )
    check_same_tokens(scores, base_scores, baseline_documents)
    # The tuned model is out of memory by now: never two at once.
    base_model = load_model(base, facts, accelerator)
    base_texts = continue_prompts(base_model, prompts, settings)

    test = compare(
        documents_of(base_scores, "test"), documents_of(scores, "test"), settings
    )
    in_test = held_out["split"].to_pylist()
    test_tokens = [
        ids for ids, split in zip(encoded, in_test, strict=True) if split == "test"
    ]
    test["floors"] = floors(tokens, test_tokens, documents_of(held_out, "test"))
    validation = compare(
        documents_of(base_scores, "validation"),
        documents_of(scores, "validation"),
        settings,
    )
    write_scores(documents, scores)
    write_json(samples, tabulate_samples(settings, prompts, base_texts, tuned_texts))
    write_sealed(
        metrics,
        {"protocol": asdict(protocol), "validation": validation, "test": test},
        [documents, samples],
    )
    change = change_line(
        *(test[model]["bits_per_byte"] for model in ("base", "tuned")),
        *(test[f"bits_per_byte_change_{end}"] for end in ("low", "high")),
    )
    return f"bits per byte {change}"


def check_same_documents(
    held_out: pa.Table, base_scores: pa.Table, source: Path
) -> None:
    """Raise RetuneError unless the baseline scored these documents, byte for byte."""
    columns = ["split", "id", "bytes"]
    if not held_out.select(columns).equals(base_scores.select(columns)):
        raise RetuneError(
            f"{source}: the baseline scored other documents ({base_scores.num_rows})"
            f" than are held out now ({held_out.num_rows}): {AGAIN}"
        )


def check_same_protocol(protocol: Protocol, base: Protocol) -> None:
    """Raise RetuneError if the baseline was scored by another protocol.

    The device may differ, where `hardware.accelerator` is `auto`.
    """
    differing = [
        f"{name} {before}, now {now}"
        for name, before in asdict(base).items()
        if name != "device" and before != (now := getattr(protocol, name))
    ]
    if differing:
        raise RetuneError(
            "the baseline was scored by another protocol"
            f" ({'; '.join(differing)}): {AGAIN}"
        )


def check_same_tokens(scores: pa.Table, base_scores: pa.Table, source: Path) -> None:
    """Raise RetuneError unless both models were asked for as many tokens."""
    if not scores["tokens"].equals(base_scores["tokens"]):
        raise RetuneError(
            f"{source}: the baseline counted other tokens than the same tokenizer gives"
            f" now: {AGAIN}"
        )


def score_and_sample(
    settings: EvaluateSettings,
    prompts: Sequence[str],
    load: Callable[[], LanguageModel],
    held_out: pa.Table,
    encoded: Sequence[np.ndarray],
    base: Protocol,
) -> tuple[Protocol, pa.Table, list[tuple[str, str]]]:
    """Return the tuned model's protocol, scores and texts; the model is freed."""
    language_model = load()
    protocol = resolve_protocol(settings, language_model)
    log.info("%s", protocol)
    check_same_protocol(protocol, base)
    scores = score_documents(
        *("evaluate", language_model, held_out, encoded),
        *(protocol, settings.batch_size),
    )
    return protocol, scores, continue_prompts(language_model, prompts, settings)


def compare(
    base: pa.Table, tuned: pa.Table, settings: EvaluateSettings
) -> dict[str, Any]:
    """Return both models' sums on one split, and the change with its 95 % interval."""
    numbers: dict[str, Any] = {"base": summarize(base), "tuned": summarize(tuned)}
    if base.num_rows == 0:
        return numbers
    base_nll, tuned_nll = base["nll"].to_numpy(), tuned["nll"].to_numpy()
    change = bits_per_byte_change(
        base_nll,
        tuned_nll,
        base["bytes"].to_numpy(),
        settings.bootstrap_draws,
        settings.seed,
    )
    return {
        **numbers,
        "bits_per_byte_change": change.change,
        "bits_per_byte_change_low": change.low,
        "bits_per_byte_change_high": change.high,
        "win_rate": win_rate(base_nll, tuned_nll),
    }


def floors(
    tokens: Path, encoded: Sequence[np.ndarray], documents: pa.Table
) -> dict[str, float]:
    """Return what a model must beat, in bits per byte of the documents.

    `uniform` finds every token of the model's vocabulary equally likely; `unigram` goes
    by how often each occurs in train, with add-one smoothing.
    """
    counts = np.load(tokens / "train.counts.npy", allow_pickle=False)
    stream = np.concatenate(encoded)
    if stream.max(initial=0) >= len(counts):
        raise RetuneError(
            f"{tokens / 'train.counts.npy'} counts {len(counts)} tokens, but the"
            f" tokenizer gives id {stream.max()}: run tokenize again"
        )
    num_bytes = sum(documents["bytes"].to_pylist())
    bits = math.log2(counts.sum() + len(counts)) - np.log2(counts + 1)
    return {
        "uniform_bits_per_byte": math.log2(len(counts)) * len(stream) / num_bytes,
        "unigram_bits_per_byte": float(bits[stream].sum() / num_bytes),
    }


def tabulate_samples(
    settings: EvaluateSettings,
    prompts: Sequence[str],
    base: list[tuple[str, str]],
    tuned: list[tuple[str, str]],
) -> dict[str, Any]:
    """Return each prompt's texts side by side, and the settings that made them."""
    return {
        "settings": {
            "max_new_tokens": settings.max_new_tokens,
            "seed": settings.seed,
            "greedy": GREEDY,
            "sampled": SAMPLED,
        },
        "samples": [
            {
                "prompt": prompt,
                "base": base_text[0],
                "tuned": tuned_text[0],
                "base_sampled": base_text[1],
                "tuned_sampled": tuned_text[1],
            }
            for prompt, base_text, tuned_text in zip(prompts, base, tuned, strict=True)
        ],
    }
