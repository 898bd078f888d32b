"""Scores of the base and the tuned model: metrics/baseline.json and evaluation.json."""

from typing import ClassVar, Literal

from retune.artifacts.artifact import Artifact, SealedArtifact


class ScoringProtocol(Artifact):
    """What decides a model's scores; the size of the batches does not.

    Attributes:
        context_length: Number of tokens that a window holds at most.
        stride: Number of tokens by which a window moves on.
        prefix: Token before the first one of each document.
        dtype: Data type of the weights, as PyTorch names it.
        device: Kind of device, as PyTorch names it.
        split_special_tokens: Whether special tokens spelled out in a text are text.
        tokenizer_sha256: Hash of tokenizer.json.
    """

    context_length: int
    stride: int
    prefix: str
    dtype: str
    device: str
    split_special_tokens: bool
    tokenizer_sha256: str


class ScoreTotals(Artifact):
    """A model's scores on all documents of a split together.

    Attributes:
        documents: Number of documents.
        bytes: Size of their text in UTF-8, bytes.
        words: Number of words.
        tokens: Number of tokens, without those that mark a document's ends.
        nll: Negative log-likelihood of the documents, nats.
        bits_per_byte: Negative log-likelihood per byte, bits.
        token_perplexity: Perplexity per token; None where float64 cannot hold it.
        word_perplexity: Perplexity per word; None where float64 cannot hold it.
    """

    documents: int
    bytes: int
    words: int
    tokens: int
    nll: float
    bits_per_byte: float
    token_perplexity: float | None
    word_perplexity: float | None


class NoScores(Artifact):
    """What stands in the place of `ScoreTotals` for a split without documents."""

    documents: Literal[0] = 0
    bytes: Literal[0] = 0
    words: Literal[0] = 0
    tokens: Literal[0] = 0
    nll: float = 0.0
    bits_per_byte: None = None
    token_perplexity: None = None
    word_perplexity: None = None


class BaselineMetrics(SealedArtifact):
    """Scores of the base model: metrics/baseline.json.

    It vouches for the scores of the single documents.

    Attributes:
        format: Number of this format.
        protocol: Protocol by which the documents were scored.
        validation: Scores on the validation split.
        test: Scores on the test split, which is never empty.
    """

    STEP: ClassVar = "baseline"

    format: Literal[1] = 1
    protocol: ScoringProtocol
    validation: ScoreTotals | NoScores
    test: ScoreTotals


class Comparison(Artifact):
    """The tuned model against the base model on the documents of a split.

    Attributes:
        base: Scores of the base model.
        tuned: Scores of the tuned model.
        bits_per_byte_change: Tuned minus base, bits per byte; negative is better.
        bits_per_byte_change_low: Lower end of the change's 95 % interval.
        bits_per_byte_change_high: Upper end of the change's 95 % interval.
        win_rate: Fraction of the documents that the tuned model predicts better, ties
            counted as half.
    """

    base: ScoreTotals
    tuned: ScoreTotals
    bits_per_byte_change: float
    bits_per_byte_change_low: float
    bits_per_byte_change_high: float
    win_rate: float


class NoComparison(Artifact):
    """What stands in the place of `Comparison` for a split without documents."""

    base: NoScores = NoScores()
    tuned: NoScores = NoScores()


class Floors(Artifact):
    """Bits per byte that a model without any context reaches on the test split.

    Attributes:
        uniform_bits_per_byte: Bits per byte if every token is equally likely.
        unigram_bits_per_byte: Bits per byte by how often each token is in train.
    """

    uniform_bits_per_byte: float
    unigram_bits_per_byte: float


class ComparisonWithFloors(Comparison):
    """A comparison of the two models, and what both should be better than.

    Attributes:
        floors: Bits per byte of two models without context.
    """

    floors: Floors


class EvaluationMetrics(SealedArtifact):
    """The tuned model against the base model: metrics/evaluation.json.

    It vouches for the scores of the single documents.

    Attributes:
        format: Number of this format.
        protocol: Protocol by which both models were scored.
        validation: Comparison on the validation split.
        test: Comparison on the test split, which is never empty.
    """

    STEP: ClassVar = "evaluate"

    format: Literal[1] = 1
    protocol: ScoringProtocol
    validation: Comparison | NoComparison
    test: ComparisonWithFloors
