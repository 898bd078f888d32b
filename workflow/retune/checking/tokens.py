"""Whether the documents become tokens that the model can be trained on."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from retune.artifacts.publishing import write_manifest
from retune.artifacts.tokens_index import TokensIndex
from retune.artifacts.verifying import WEIGHTS
from retune.chat.refusal import ConversationError
from retune.checking.base_model import BaseModel
from retune.checking.data import FirstDocuments
from retune.checking.outcome import Outcome, failed, not_checked
from retune.errors import RetuneError
from retune.evaluation.perplexity import resolve_lengths
from retune.examples.document_kinds import kind_of
from retune.examples.example import COLUMN, read_example
from retune.quantities import percent
from retune.settings import (
    SPLITS,
    EvaluateSettings,
    PrepareSettings,
    TokenizeSettings,
)
from retune.steps import prepare, tokenize
from retune.steps.tokenize import LONGEST_AUTO_SEQUENCE
from retune.tokens.example_encoder import ExampleEncoder, untrainable
from retune.tokens.lengths import resolve_length
from retune.tokens.tokenizer import ModelTokenizer

# Share of the examples that may be longer than a sequence before it is told.
MANY = 0.5


@dataclass(frozen=True)
class TrainingSequences:
    """The training sequences.

    Attributes:
        length: Tokens of each.
        index: What the tokens are; None if that is not known.
    """

    length: int
    index: TokensIndex | None = None

    @property
    def blocks(self) -> int | None:
        """Number of them; None if it is not known."""
        return self.index.splits["train"].blocks if self.index else None


def check_tokens(
    settings: TokenizeSettings,
    prepared: PrepareSettings | None,
    base: BaseModel,
    documents: FirstDocuments | None,
    scratch: Path,
) -> tuple[TrainingSequences | None, Outcome]:
    """Return the training sequences, and what is wrong with them.

    Documents that are all here and few go through `prepare` and `tokenize`; of others
    the first examples are encoded.

    Args:
        settings: The section `tokenize`.
        prepared: The section `prepare`; None if it is wrong.
        base: The base model.
        documents: The first documents; None if there are none, or they are wrong.
        scratch: Folder to write into.

    Returns:
        The training sequences; None if the settings do not suit the model.
    """
    facts = base.facts
    try:
        length = resolve_length(
            *("tokenize.sequence_length", settings.sequence_length),
            *(facts, LONGEST_AUTO_SEQUENCE),
        )
    except RetuneError as error:
        return None, failed(error)
    sequences = TrainingSequences(length)
    found = f"sequences of {length:,}"
    if documents is None:
        return sequences, not_checked(f"{found}; it needs the dataset")
    is_example = kind_of(pq.read_schema(documents.raw / "train.parquet").names)
    if is_example == "example" and not base.has_template:
        why = "the model's chat template is made by fetch"
        return sequences, not_checked(f"{found}; {why}")
    if documents.are_all and prepared:
        index, outcome = tokenize_all(settings, prepared, base, documents, scratch)
        return TrainingSequences(length, index), outcome
    if is_example == "example":
        return sequences, encode_first(settings, base, documents, length)
    return sequences, Outcome(found)


def tokenize_all(
    settings: TokenizeSettings,
    prepared: PrepareSettings,
    base: BaseModel,
    documents: FirstDocuments,
    scratch: Path,
) -> tuple[TokensIndex | None, Outcome]:
    """Have the steps `prepare` and `tokenize` make the tokens, and tell of them."""
    clean, tokens = scratch / "clean", scratch / "tokens"
    tokenizer = scratch / "tokenizer"
    shutil.copytree(base.folder, tokenizer, ignore=shutil.ignore_patterns(WEIGHTS))
    base.facts.write(tokenizer)
    write_manifest(tokenizer)
    try:
        prepare.run(prepared, documents.raw, clean, scratch / "data.json")
        metrics = scratch / "tokens.json"
        line = tokenize.run(settings, clean, tokenizer, tokens, metrics)
    except RetuneError as error:
        return None, failed(error, found="prepare and tokenize, of all rows")
    return TokensIndex.read(tokens), Outcome(line)


def encode_first(
    settings: TokenizeSettings, base: BaseModel, documents: FirstDocuments, length: int
) -> Outcome:
    """Encode the first examples as the model would be trained on them.

    Args:
        settings: The section `tokenize`.
        base: The base model.
        documents: The first documents.
        length: Tokens per training sequence.
    """
    names: list[str] = []
    lines: list[str] = []
    for split in SPLITS:
        if (file := documents.raw / f"{split}.parquet").exists():
            columns = pq.read_table(file).to_pydict()
            names += columns["id"]
            lines += columns[COLUMN]
    tokenizer = ModelTokenizer.of(base.folder, base.facts)
    encoder = ExampleEncoder(base.folder, base.facts, tokenizer)
    try:
        outcomes = encoder.try_encode([read_example(line) for line in lines])
    except RetuneError as error:
        return failed(error)
    problems = []
    longest = []
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, ConversationError):
            problems.append(f"{name}: {outcome}")
        else:
            longest.append(max((len(each.ids) for each in outcome), default=0))
    if problems:
        return failed(untrainable(problems, len(lines)))
    return lengths_outcome(settings, longest, length)


def lengths_outcome(
    settings: TokenizeSettings, longest: list[int], length: int
) -> Outcome:
    """Return whether most examples fit into a sequence.

    Args:
        settings: The section `tokenize`.
        longest: Tokens of the longest sequence of each example.
        length: Tokens per training sequence.
    """
    number = sum(each > length for each in longest)
    found = f"sequences of {length:,}; {len(longest):,} examples encoded"
    if number <= MANY * len(longest):
        return Outcome(found)
    return Outcome(
        found,
        warnings=(
            f"tokenize.sequence_length: {length}, but {percent(number / len(longest))}"
            f" of the {len(longest):,} examples looked at are longer, the longest of"
            f" {max(longest):,} tokens (tokenize.overlong:"
            f" {settings.resolved_overlong(has_answers=True)})",
        ),
    )


def read_tokens(tokens: Path) -> TrainingSequences | None:
    """Return the training sequences that `tokenize` has made; None if there are none.

    Args:
        tokens: Folder that `tokenize` wrote.
    """
    try:
        index = TokensIndex.read(tokens)
    except (RetuneError, FileNotFoundError):
        return None
    return TrainingSequences(index.sequence_length, index)


def check_evaluation(settings: EvaluateSettings, base: BaseModel) -> Outcome:
    """Return whether the windows of the evaluation suit the model."""
    try:
        length, stride = resolve_lengths(settings, base.facts)
    except RetuneError as error:
        return failed(error)
    return Outcome(f"windows of {length:,} tokens, {stride:,} apart")
