"""Negative log-likelihood of documents under a model, each token scored once.

Of a text every token is scored, of an example those that are trained: its answer.
"""

import math
from collections.abc import Iterator, Sequence
from inspect import signature
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from retune.artifacts.evaluation_metrics import ScoringProtocol
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError
from retune.evaluation.language_model import LanguageModel, LoadedModel
from retune.settings import ScoringSettings
from retune.terminal.progress import progress_bar
from retune.tokens.lengths import resolve_length
from retune.tokens.sequences import TokenSequence

# Longest context, in tokens, that `auto` chooses.
LONGEST_AUTO_CONTEXT = 1024
# Bytes that the float32 logits of a forward pass may take; with a large vocabulary a
# pass has fewer windows than batch_size.
LOGITS_BYTES = 2**30


class Window(NamedTuple):
    """A part of a sequence's inputs that the model sees at once.

    Attributes:
        start: Number of the window's first input.
        end: Number of the window's last input, plus 1.
        scored: Number of inputs, the last ones of the window, whose predictions count.
    """

    start: int
    end: int
    scored: int


class ScoredWindow(NamedTuple):
    """A window with its tokens.

    Attributes:
        document: Number of the document that the window belongs to.
        tokens: The window's inputs followed by its last target, int32 [inputs + 1].
        counted: For the last inputs of the window, whether their prediction counts,
            bool [at most inputs]; the first one does.
    """

    document: int
    tokens: np.ndarray
    counted: np.ndarray

    @property
    def num_inputs(self) -> int:
        """Number of inputs."""
        return len(self.tokens) - 1

    @property
    def num_counted(self) -> int:
        """Number of predictions that count."""
        return int(self.counted.sum())


def plan_windows(num_tokens: int, context_length: int, stride: int) -> list[Window]:
    """Return the windows that score each token of a sequence exactly once.

    Input 0 is the sequence's first token, which nothing predicts; input i predicts the
    token after it, which is number i of the `num_tokens` to score. The first window
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


def scored_windows(
    documents: Sequence[Sequence[TokenSequence]], protocol: ScoringProtocol
) -> Iterator[ScoredWindow]:
    """Yield the windows that score each trained token of the documents exactly once.

    What follows the last trained token of a sequence is not looked at, and windows
    without a trained token are left out.
    """
    for number, sequences in enumerate(documents):
        for sequence in sequences:
            last = int(sequence.trained.nonzero()[0].max(initial=0))
            for window in plan_windows(last, protocol.context_length, protocol.stride):
                end = window.end + 1
                counted = sequence.trained[end - window.scored : end]
                if counted.any():
                    tokens = sequence.ids[window.start : end]
                    yield ScoredWindow(number, tokens, counted[counted.argmax() :])


def resolve_protocol(
    settings: ScoringSettings,
    language_model: LanguageModel,
    chat_template_sha256: str | None = None,
) -> ScoringProtocol:
    """Return the protocol with every `auto` resolved for a model.

    Args:
        settings: What decides scores, of the `evaluate` section.
        language_model: Model that scores the documents.
        chat_template_sha256: Hash of the chat template that renders the documents; None
            if none does.
    """
    tokenizer, facts = language_model.tokenizer, language_model.facts
    context_length, stride = resolve_lengths(settings, facts)
    is_rendered = chat_template_sha256 is not None
    return ScoringProtocol(
        context_length=context_length,
        stride=stride,
        prefix=None if is_rendered else tokenizer.name_of(language_model.prefix),
        dtype=language_model.dtype,
        device=language_model.device,
        split_special_tokens=tokenizer.splits_special_tokens,
        tokenizer_sha256=sha256(tokenizer.path),
        chat_template_sha256=chat_template_sha256,
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
    documents: Sequence[Sequence[TokenSequence]],
    protocol: ScoringProtocol,
    batch_size: int,
) -> np.ndarray:
    """Return each document's negative log-likelihood in nats, float64 [documents].

    It is that of the trained tokens, each given what the sequence has before it.
    Windows of different lengths are padded on the right, which causal attention does
    not see, and pads are not scored: any batch_size gives the same result.

    Args:
        step: Name of the step, for the progress bar.
        language_model: Model that scores the documents.
        documents: Sequences of each document.
        protocol: Protocol by which the documents are scored.
        batch_size: Number of windows per forward pass at most.
    """
    windows = list(scored_windows(documents, protocol))
    total = sum(window.num_counted for window in windows)
    assert total == sum(map(num_trained, documents)), "each token is scored once"
    # Windows of equal length need no padding beside each other. The longest come first,
    # so that what does not fit the memory fails at once.
    windows.sort(key=lambda window: (-window.num_inputs, len(window.counted)))
    rows = windows_per_pass(
        language_model.vocab_size, protocol.context_length, batch_size
    )
    batches = [windows[first : first + rows] for first in range(0, len(windows), rows)]
    scores: list[list[float]] = [[] for _ in batches]
    with progress_bar(step, total, "tokens") as bar:
        for number, of_batch in language_model.each(score_batch, batches):
            scores[number] = of_batch
            bar.update(sum(window.num_counted for window in batches[number]))
    # Sums of floats depend on the order, that in which the batches end must not count.
    nll = np.zeros(len(documents))
    for window, score in zip(windows, chain.from_iterable(scores), strict=True):
        nll[window.document] += score
    return nll


def num_trained(sequences: Sequence[TokenSequence]) -> int:
    """Return the number of trained tokens of a document."""
    return sum(int(sequence.trained.sum()) for sequence in sequences)


def windows_per_pass(vocab_size: int, context_length: int, batch_size: int) -> int:
    """Return how many windows' float32 logits fit LOGITS_BYTES, at most batch_size."""
    fitting = LOGITS_BYTES // (4 * vocab_size * context_length)
    return max(1, min(batch_size, fitting))


def score_batch(
    language_model: LoadedModel, windows: Sequence[ScoredWindow]
) -> list[float]:
    """Return the negative log-likelihood, nats, of what counts in each window."""
    try:
        nll = forward(language_model, windows).tolist()
    except torch.OutOfMemoryError as error:
        raise RetuneError(
            f"evaluate.batch_size: {len(windows)} windows of {windows[0].num_inputs}"
            " tokens do not fit the GPU's memory; use fewer, or shorter ones"
        ) from error
    if not all(map(math.isfinite, nll)):
        raise language_model.not_finite()
    return nll


@torch.inference_mode()
def forward(
    language_model: LoadedModel, windows: Sequence[ScoredWindow]
) -> torch.Tensor:
    """Return the negative log-likelihoods of `score_batch`, float64 [windows].

    They are computed from float32 logits.
    """
    model = language_model.model
    longest = max(window.num_inputs for window in windows)
    inputs = torch.zeros(len(windows), longest, dtype=torch.int64)
    for row, window in enumerate(windows):
        tokens = window.tokens[:-1].astype(np.int64)
        inputs[row, : len(tokens)] = torch.from_numpy(tokens)
    first = min(window.num_inputs - len(window.counted) for window in windows)
    options: dict[str, bool | int] = {"use_cache": False}
    if "logits_to_keep" in signature(model.forward).parameters:
        # A number: a tensor would have to be on the GPU of the last layer.
        options["logits_to_keep"] = longest - first
    else:
        first = 0
    logits = model(input_ids=inputs.to(model.device), **options).logits
    sums = []
    for row, window in enumerate(windows):
        end = window.num_inputs - first
        after_first = end - len(window.counted) + np.flatnonzero(window.counted)
        targets = window.tokens[-len(window.counted) :][window.counted]
        nll = cross_entropy(
            logits[row, torch.from_numpy(after_first).to(model.device)].float(),
            torch.from_numpy(targets.astype(np.int64)).to(model.device),
            reduction="none",
        )
        sums.append(nll.double().sum())
    return torch.stack(sums)
