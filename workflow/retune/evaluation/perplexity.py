"""Negative log-likelihood of documents under a model, every token scored once."""

import math
from collections.abc import Sequence
from inspect import signature
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from retune.artifacts.evaluation_metrics import ScoringProtocol
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError
from retune.evaluation.language_model import LanguageModel
from retune.settings import ScoringSettings
from retune.terminal.progress import progress_bar
from retune.tokens.lengths import resolve_length

# Longest context, in tokens, that `auto` chooses.
LONGEST_AUTO_CONTEXT = 1024
# Bytes that the float32 logits of a forward pass may take; with a large vocabulary a
# pass has fewer windows than batch_size.
LOGITS_BYTES = 2**30


class Window(NamedTuple):
    """A part of a document's inputs that the model sees at once.

    Attributes:
        start: Number of the window's first input.
        end: Number of the window's last input, plus 1.
        scored: Number of inputs, the last ones of the window, whose predictions count.
    """

    start: int
    end: int
    scored: int


def plan_windows(num_tokens: int, context_length: int, stride: int) -> list[Window]:
    """Return the windows that score each token of a document exactly once.

    Input 0 is the prefix; input i predicts token i (counted from 0). The first window
    scores as many tokens as fit, each later one `stride` more, the last what is left,
    always with as much left context as fits. With `stride` equal to `context_length`
    this is the `loglikelihood_rolling` of EleutherAI's lm-evaluation-harness.
    """
    windows: list[Window] = []
    done = 0
    while done < num_tokens:
        end = min(num_tokens, done + (stride if done else context_length))
        windows.append(Window(max(0, end - context_length), end, end - done))
        done = end
    return windows


def resolve_protocol(
    settings: ScoringSettings, language_model: LanguageModel
) -> ScoringProtocol:
    """Return the protocol with every `auto` resolved for a model."""
    tokenizer, facts = language_model.tokenizer, language_model.facts
    context_length, stride = resolve_lengths(settings, facts)
    return ScoringProtocol(
        context_length=context_length,
        stride=stride,
        prefix=tokenizer.name_of(language_model.prefix),
        dtype=str(language_model.model.dtype).removeprefix("torch."),
        device=language_model.model.device.type,
        split_special_tokens=tokenizer.splits_special_tokens,
        tokenizer_sha256=sha256(tokenizer.path),
    )


def resolve_lengths(settings: ScoringSettings, facts: ModelFacts) -> tuple[int, int]:
    """Return context_length and stride in tokens.

    Args:
        settings: Section `evaluate` with the wanted lengths, a number or `auto`.
        facts: Facts of the base model.
    """
    length = resolve_length(
        "evaluate.context_length", settings.context_length, facts, LONGEST_AUTO_CONTEXT
    )
    stride = length if settings.stride == "auto" else settings.stride
    if stride > length:
        raise RetuneError(
            f"evaluate.stride: {stride} exceeds the context_length of {length} tokens:"
            f" {length} at most, or auto"
        )
    return length, stride


def score_tokens(
    step: str,
    language_model: LanguageModel,
    documents: Sequence[np.ndarray],
    protocol: ScoringProtocol,
    batch_size: int,
) -> np.ndarray:
    """Return each document's negative log-likelihood in nats, float64 [documents].

    Windows of different lengths are padded on the right, which causal attention does
    not see, and pads are not scored: any batch_size gives the same result.

    Args:
        step: Name of the step, for the progress bar.
        language_model: Model that scores the documents.
        documents: Tokens of each document, int64 [tokens].
        protocol: Protocol by which the documents are scored.
        batch_size: Number of windows per forward pass at most.
    """
    windows = [
        (document, window)
        for document, tokens in enumerate(documents)
        for window in plan_windows(
            len(tokens), protocol.context_length, protocol.stride
        )
    ]
    total = sum(window.scored for _, window in windows)
    assert total == sum(map(len, documents)), "every token is scored exactly once"
    # Windows of equal length need no padding beside each other. The longest come first,
    # so that what does not fit the memory fails at once.
    windows.sort(key=lambda item: (item[1].start - item[1].end, item[1].scored))
    rows = windows_per_pass(
        language_model.vocab_size, protocol.context_length, batch_size
    )
    nll = np.zeros(len(documents))
    with progress_bar(step, total, "tokens") as bar, torch.inference_mode():
        for first in range(0, len(windows), rows):
            batch = windows[first : first + rows]
            tokens = [
                tokens_of(window, documents[document], language_model.prefix)
                for document, window in batch
            ]
            scored = [window.scored for _, window in batch]
            scores = score_batch(language_model, tokens, scored)
            for (document, _), score in zip(batch, scores, strict=True):
                nll[document] += score
            bar.update(sum(scored))
    return nll


def windows_per_pass(vocab_size: int, context_length: int, batch_size: int) -> int:
    """Return how many windows' float32 logits fit LOGITS_BYTES, at most batch_size."""
    fitting = LOGITS_BYTES // (4 * vocab_size * context_length)
    return max(1, min(batch_size, fitting))


def tokens_of(window: Window, document: np.ndarray, prefix: int) -> np.ndarray:
    """Return the window's inputs followed by its last target, int64 [inputs + 1]."""
    if window.start == 0:
        return np.concatenate([[prefix], document[: window.end]], dtype=np.int64)
    return document[window.start - 1 : window.end].astype(np.int64)


def score_batch(
    language_model: LanguageModel, windows: Sequence[np.ndarray], scored: Sequence[int]
) -> list[float]:
    """Return the negative log-likelihood, nats, of each window's `scored` tokens."""
    try:
        nll = forward(language_model, windows, scored).tolist()
    except torch.OutOfMemoryError as error:
        raise RetuneError(
            f"evaluate.batch_size: {len(windows)} windows of {len(windows[0]) - 1}"
            " tokens do not fit the GPU's memory; use fewer, or shorter ones"
        ) from error
    if not all(map(math.isfinite, nll)):
        raise RetuneError(
            f"{language_model.folder}: the model's logits are not finite (NaN or"
            " infinity): its weights are damaged, or its training diverged"
        )
    return nll


def forward(
    language_model: LanguageModel, windows: Sequence[np.ndarray], scored: Sequence[int]
) -> torch.Tensor:
    """Return the negative log-likelihoods of `score_batch`, float64 [windows].

    They are computed from float32 logits.
    """
    model = language_model.model
    lengths = [len(window) - 1 for window in windows]
    inputs = torch.zeros(len(windows), max(lengths), dtype=torch.int64)
    for row, window in enumerate(windows):
        inputs[row, : lengths[row]] = torch.from_numpy(window[:-1])
    first = min(length - count for length, count in zip(lengths, scored, strict=True))
    options: dict[str, bool | torch.Tensor] = {"use_cache": False}
    if "logits_to_keep" in signature(model.forward).parameters:
        options["logits_to_keep"] = torch.arange(first, max(lengths)).to(model.device)
    else:
        first = 0
    logits = model(input_ids=inputs.to(model.device), **options).logits
    sums = []
    for row, (window, count) in enumerate(zip(windows, scored, strict=True)):
        end = lengths[row] - first
        targets = torch.from_numpy(window[-count:]).to(model.device)
        nll = cross_entropy(
            logits[row, end - count : end].float(), targets, reduction="none"
        )
        sums.append(nll.double().sum())
    return torch.stack(sums)
