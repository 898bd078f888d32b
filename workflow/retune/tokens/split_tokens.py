"""Writes the tokens of a split: of its texts, or of its examples."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.model_facts import ModelFacts
from retune.chat.refusal import ConversationError
from retune.errors import RetuneError
from retune.examples.document_kinds import SOURCE
from retune.examples.example import COLUMN, Example, read_example
from retune.settings import Split
from retune.terminal.progress import progress_bar
from retune.tokens.example_encoder import ExampleEncoder, Outcome, untrainable
from retune.tokens.prefetch import one_ahead
from retune.tokens.store import SplitWriter, token_dtype, written_split
from retune.tokens.text_batches import batches_of
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)

# Documents that are read from a parquet file at a time.
DOCUMENTS_PER_BATCH = 1000


@dataclass(frozen=True)
class SourceCounts:
    """What a split holds of one source.

    Attributes:
        name: Name of the source.
        documents: Number of its documents.
        sequences: Number of token sequences that they became.
    """

    name: str
    documents: int
    sequences: int


@dataclass
class SplitCounts:
    """What is counted while a split is written.

    Attributes:
        documents: Number of documents.
        sequences: Number of token sequences that they became.
        tokens: Number of tokens, with those that begin and end a document.
        bytes: Size of the text in UTF-8.
        characters: Number of characters of the text.
        special_tokens: Number of special tokens that the text spells out.
        straddling: Number of tokens that begin before an answer and end in it.
        lost: Characters that the tokenizer cannot represent -> number of occurrences.
        sources: What each source has, in order; empty unless there are several.
    """

    documents: int = 0
    sequences: int = 0
    tokens: int = 0
    bytes: int = 0
    characters: int = 0
    special_tokens: int = 0
    straddling: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    sources: list[SourceCounts] = field(default_factory=list)

    def add_texts(
        self,
        texts: Sequence[str],
        encoded: Sequence[Sequence[int]],
        tokenizer: ModelTokenizer,
    ) -> None:
        """Count documents: what each says, and its tokens."""
        self.documents += len(texts)
        self.bytes += sum(len(text.encode()) for text in texts)
        self.characters += sum(map(len, texts))
        self.special_tokens += sum(map(tokenizer.count_special_tokens, texts))
        self.lost += tokenizer.lost_characters.count(texts, encoded)


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
        write = write_examples if has_answers else write_texts
        for number in write(source, stream, count, tokenizer, encoder, facts):
            bar.update(number)
        count.sequences, count.tokens = stream.sequences, stream.tokens
        count.sources = count_sources(source, stream.ends)
    log.info("%s: %d documents, %d tokens", split, count.documents, count.tokens)
    return count


def count_sources(source: Path, ends: Sequence[int]) -> list[SourceCounts]:
    """Return what each source has in a split; nothing unless there are several.

    Args:
        source: Parquet file of the split, whose documents are sorted by source.
        ends: Number of sequences at the end of each document.
    """
    if SOURCE not in pq.read_schema(source).names:
        return []
    documents: dict[str, int] = {}
    for batch in read_batches(source, [SOURCE]):
        for name, rows in groupby(batch.column(0).to_pylist()):
            is_next = name not in documents or name == next(reversed(documents))
            assert is_next, f"{source}: documents of {name} are not all together"
            documents[name] = documents.get(name, 0) + len(list(rows))
    bounds = [0, *(ends[last - 1] for last in accumulate(documents.values()))]
    return [
        SourceCounts(name, number, end - first)
        for (name, number), (first, end) in zip(
            documents.items(), pairwise(bounds), strict=True
        )
    ]


def write_texts(
    source: Path,
    stream: SplitWriter,
    count: SplitCounts,
    tokenizer: ModelTokenizer,
    encoder: ExampleEncoder,
    facts: ModelFacts,
) -> Iterator[int]:
    """Write the tokens of texts, each between BOS and EOS; yield how many at a time."""
    bos, eos = facts.bos_token_id, facts.eos_token_id
    # While a batch is counted and written, the next one is encoded.
    for texts, encoded in one_ahead(encoded_texts(source, tokenizer)):
        for ids in encoded:
            stream.append(np.array([bos, *ids, eos]), None)
            stream.end_document()
        count.add_texts(texts, encoded, tokenizer)
        yield len(texts)


def encoded_texts(
    source: Path, tokenizer: ModelTokenizer
) -> Iterator[tuple[list[str], list[list[int]]]]:
    """Yield the texts of a parquet file in batches, with their tokens."""
    for batch in read_batches(source, ["text"]):
        for texts in batches_of(batch.column(0).to_pylist()):
            yield texts, list(tokenizer.encode(texts))


def write_examples(
    source: Path,
    stream: SplitWriter,
    count: SplitCounts,
    tokenizer: ModelTokenizer,
    encoder: ExampleEncoder,
    facts: ModelFacts,
) -> Iterator[int]:
    """Write the tokens of examples; yield how many at a time."""
    problems: list[str] = []
    # While a batch is counted and written, the next one is rendered and encoded.
    for names, examples, outcomes in one_ahead(encoded_examples(source, encoder)):
        encoded: list[list[int]] = []
        texts: list[str] = []
        for name, example, outcome in zip(names, examples, outcomes, strict=True):
            if isinstance(outcome, ConversationError):
                problems.append(f"{source}, {name}: {outcome}")
                continue
            for sequence in outcome:
                stream.append(sequence.ids, sequence.trained)
                count.straddling += sequence.straddling
            stream.end_document()
            encoded.append([token for each in outcome for token in each.ids.tolist()])
            texts.append(text_of(example))
        count.add_texts(texts, encoded, tokenizer)
        yield len(names)
    if problems:
        number = pq.read_metadata(source).num_rows
        raise RetuneError(untrainable(problems, number))


def encoded_examples(
    source: Path, encoder: ExampleEncoder
) -> Iterator[tuple[list[str], list[Example], list[Outcome]]]:
    """Yield the examples of a parquet file in batches, with what became of them."""
    for batch in read_batches(source, ["id", COLUMN]):
        names, lines = (batch.column(name).to_pylist() for name in ("id", COLUMN))
        examples = [read_example(line) for line in lines]
        yield names, examples, encoder.try_encode(examples)


def read_batches(source: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of a parquet file, some documents at a time."""
    # With pre_buffer all that has been read of a file stays in memory.
    with pq.ParquetFile(source, pre_buffer=False) as file:
        yield from file.iter_batches(DOCUMENTS_PER_BATCH, columns=columns)


def text_of(example: Example) -> str:
    """Return all that an example says."""
    return "\n".join((example.system, example.question, example.answer))
