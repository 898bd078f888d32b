"""Scores of the base and the tuned model: metrics/baseline.json and evaluation.json."""

from typing import ClassVar, Literal

from retune.artifacts.artifact import Artifact, SealedArtifact


class ScoringProtocol(Artifact):
    """What decides a model's scores; the size of the batches does not.

    Attributes:
        context_length: Number of tokens that a window holds at most.
        stride: Number of tokens by which a window moves on.
        prefix: Token before the first one of each document; None where the chat
            template writes what comes first.
        dtype: Data type of the weights, as PyTorch names it.
        device: Kind of device, as PyTorch names it.
        split_special_tokens: Whether special tokens spelled out in a text are text.
        tokenizer_sha256: Hash of tokenizer.json.
        chat_template_sha256: Hash of the chat template by which conversations become
            text; None for data without conversations.
    """

    context_length: int
    stride: int
    prefix: str | None
    dtype: str
    device: str
    split_special_tokens: bool
    tokenizer_sha256: str
    chat_template_sha256: str | None = None


class ScoreTotals(Artifact):
    """A model's scores on all documents of a split together.

    What is scored of a document is its text; of an example, its answer.

    Attributes:
        documents: Number of documents.
        bytes: Size of what is scored in UTF-8, bytes.
        words: Number of words.
        tokens: Number of tokens that are scored: of a text all but those that mark its
            ends, of an example those that are trained.
        nll: Negative log-likelihood of the documents, nats.
        bits_per_byte: Negative log-likelihood per byte, bits.
        bits_per_document: Negative log-likelihood per document, bits.
        token_perplexity: Perplexity per token; None where float64 cannot hold it.
        word_perplexity: Perplexity per word; None where float64 cannot hold it.
    """

    documents: int
    bytes: int
    words: int
    tokens: int
    nll: float
    bits_per_byte: float
    bits_per_document: float
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
    bits_per_document: None = None
    token_perplexity: None = None
    word_perplexity: None = None


class ExactMatch(Artifact):
    """How often a model answers exactly what the data has.

    Attributes:
        examples: Number of test examples with a short answer that the model answered.
        matches: Number of these where its likeliest answer is that of the data, white
            space at the ends aside.
        share: Part of the examples that match.
    """

    examples: int
    matches: int
    share: float


class BaselineMetrics(SealedArtifact):
    """Scores of the base model: metrics/baseline.json.

    It vouches for the scores of the single documents.

    Attributes:
        format: Number of this format.
        protocol: Protocol by which the documents were scored.
        validation: Scores on the validation split.
        test: Scores on the test split, which is never empty.
        exact_match: How often the base model answers what the test split has; None
            where no example has a short answer.
    """

    STEP: ClassVar = "baseline"

    format: Literal[2] = 2
    protocol: ScoringProtocol
    validation: ScoreTotals | NoScores
    test: ScoreTotals
    exact_match: ExactMatch | None = None


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


class ExactMatches(Artifact):
    """How often both models answer exactly what the data has, on the same examples.

    Attributes:
        base: The base model's answers.
        tuned: The tuned model's answers.
    """

    base: ExactMatch
    tuned: ExactMatch


class EvaluationMetrics(SealedArtifact):
    """The tuned model against the base model: metrics/evaluation.json.

    It vouches for the scores of the single documents.

    Attributes:
        format: Number of this format.
        protocol: Protocol by which both models were scored.
        validation: Comparison on the validation split.
        test: Comparison on the test split, which is never empty.
        exact_match: How often both models answer what the test split has; None where
            no example has a short answer.
    """

    STEP: ClassVar = "evaluate"

    format: Literal[2] = 2
    protocol: ScoringProtocol
    validation: Comparison | NoComparison
    test: ComparisonWithFloors
    exact_match: ExactMatches | None = None
