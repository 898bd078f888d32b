"""Writes the tokens of a split: of its texts, or of its examples."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from retune.artifacts.model_facts import ModelFacts
from retune.chat.refusal import ConversationError
from retune.errors import RetuneError
from retune.examples.document_kinds import SOURCE
from retune.examples.example import COLUMN, Example, read_example
from retune.settings import Split
from retune.terminal.progress import progress_bar
from retune.tokens.encoded_texts import EncodedTexts
from retune.tokens.example_encoder import (
    ExampleEncoder,
    Outcome,
    Rendered,
    untrainable,
)
from retune.tokens.prefetch import with_results
from retune.tokens.sequences import TokenSequence
from retune.tokens.split_counts import SplitCounts
from retune.tokens.store import SplitWriter, token_dtype, written_split
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)

# Documents that are read from a parquet file, and encoded, at a time.
DOCUMENTS_PER_BATCH = 250


# Some documents of a split: the values of each column.
Documents = dict[str, list[str]]


@dataclass(frozen=True)
class RenderedDocuments:
    """Some documents of a split that are examples.

    Attributes:
        documents: The documents.
        examples: Their examples.
        rendered: The texts of these.
    """

    documents: Documents
    examples: list[Example]
    rendered: Rendered


def holds_examples(source: Path) -> bool:
    """Return whether a parquet file of `prepare` holds examples; otherwise texts."""
    return COLUMN in pq.read_schema(source).names


def write_split(
    source: Path,
    folder: Path,
    split: Split,
    tokenizer: ModelTokenizer,
    encoder: ExampleEncoder,
    facts: ModelFacts,
) -> SplitCounts:
    """Write the tokens of one split; return what was counted.

    While some documents are counted and written, the next ones are encoded.

    Args:
        source: Parquet file of the split that `prepare` made.
        folder: Folder of tokens.
        split: The split.
        tokenizer: Tokenizer of the base model.
        encoder: Encoder of examples for the base model.
        facts: Facts of the base model.

    Raises:
        RetuneError: Naming the examples that cannot be trained.
    """
    count = SplitCounts()
    has_answers = holds_examples(source)
    dtype = token_dtype(facts.vocab_size)
    num_rows = pq.read_metadata(source).num_rows
    with (
        written_split(folder, split, dtype, has_answers) as stream,
        progress_bar("tokenize", num_rows, "documents") as bar,
    ):
        if has_answers:
            numbers = write_examples(source, stream, count, tokenizer, encoder)
        else:
            numbers = write_texts(source, stream, count, tokenizer, facts)
        for number in numbers:
            bar.update(number)
        count.sequences, count.tokens = stream.sequences, stream.tokens
    log.info("%s: %d documents, %d tokens", split, count.documents, count.tokens)
    return count


def write_texts(
    source: Path,
    stream: SplitWriter,
    count: SplitCounts,
    tokenizer: ModelTokenizer,
    facts: ModelFacts,
) -> Iterator[int]:
    """Write the tokens of texts, each between BOS and EOS; yield how many at a time."""

    def encode(documents: Documents) -> EncodedTexts:
        return tokenizer.encode_texts(documents["text"])

    documents_of_file = read_documents(source, ["text", SOURCE])
    for documents, encoded in with_results(encode, documents_of_file):
        whole = encoded.between(facts.bos_token_id, facts.eos_token_id)
        stream.append(whole.ids, whole.sizes)
        count.add_texts(documents["text"], encoded, tokenizer)
        if SOURCE in documents:
            count.add_sources(documents[SOURCE], [1] * len(encoded.sizes))
        yield len(encoded.sizes)


def write_examples(
    source: Path,
    stream: SplitWriter,
    count: SplitCounts,
    tokenizer: ModelTokenizer,
    encoder: ExampleEncoder,
) -> Iterator[int]:
    """Write the tokens of examples; yield how many at a time.

    Raises:
        RetuneError: Naming the examples that cannot be trained.
    """
    problems: list[str] = []

    def encode(some: RenderedDocuments) -> list[Outcome]:
        return encoder.outcomes_of(some.rendered)

    for some, outcomes in with_results(encode, render_documents(source, encoder)):
        made: list[list[TokenSequence]] = []
        for name, outcome in zip(some.documents["id"], outcomes, strict=True):
            if isinstance(outcome, ConversationError):
                problems.append(f"{source}, {name}: {outcome}")
            else:
                made.append(outcome)
        if not problems:
            encoded = write_sequences(made, stream)
            count.add_texts(list(map(text_of, some.examples)), encoded, tokenizer)
            count.other_beginnings += some.rendered.other_beginnings
            count.straddling += sum(each.straddling for each in chain(*made))
            if SOURCE in some.documents:
                count.add_sources(some.documents[SOURCE], list(map(len, made)))
        yield len(outcomes)
    if problems:
        number = pq.read_metadata(source).num_rows
        raise RetuneError(untrainable(problems, number))


def write_sequences(
    made: list[list[TokenSequence]], stream: SplitWriter
) -> EncodedTexts:
    """Write the sequences of each example; return the tokens of the examples."""
    sequences = list(chain(*made))
    sizes = [len(each.ids) for each in sequences]
    ids = np.concatenate([each.ids for each in sequences])
    stream.append(ids, sizes, np.concatenate([each.trained for each in sequences]))
    of_examples = [sum(len(each.ids) for each in some) for some in made]
    return EncodedTexts(ids, np.array(of_examples))


def render_documents(
    source: Path, encoder: ExampleEncoder
) -> Iterator[RenderedDocuments]:
    """Yield the examples of a parquet file as texts to encode, some at a time."""
    for documents in read_documents(source, ["id", COLUMN, SOURCE]):
        examples = [read_example(line) for line in documents[COLUMN]]
        yield RenderedDocuments(documents, examples, encoder.render(examples))


def read_documents(source: Path, columns: Sequence[str]) -> Iterator[Documents]:
    """Yield the documents of a parquet file, some at a time.

    Args:
        source: The file.
        columns: Names of the columns to read of those that it has.
    """
    # With pre_buffer all that has been read of a file stays in memory.
    with pq.ParquetFile(source, pre_buffer=False) as file:
        present = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(DOCUMENTS_PER_BATCH, columns=present):
            yield batch.to_pydict()


def text_of(example: Example) -> str:
    """Return all that an example says."""
    return "\n".join((example.system, example.question, example.answer))
