"""The step `tokenize`: the text of each split to one stream of tokens."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import published_folder, sha256, write_manifest
from retune.artifacts.tokens_index import (
    SplitNumbers,
    SplitSize,
    TokenMetrics,
    TokensIndex,
)
from retune.artifacts.verifying import WEIGHTS, verify_folder
from retune.errors import RetuneError
from retune.quantities import counted
from retune.settings import SPLITS, Split, TokenizeSettings
from retune.terminal.progress import progress_bar
from retune.tokens.lengths import resolve_length
from retune.tokens.store import token_dtype, write_counts, written_split
from retune.tokens.text_batches import batches_of
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)

# Documents that are read from a parquet file at a time.
DOCUMENTS_PER_BATCH = 1000
# Number of tokens that `sequence_length: auto` means, if the model allows as many.
LONGEST_AUTO_SEQUENCE = 2048
# Most lost characters that a message names.
SHOWN_CHARACTERS = 8


@dataclass
class SplitCounts:
    """What is counted while a split is written.

    Attributes:
        documents: Number of documents.
        tokens: Number of tokens, with BOS and EOS of each document.
        bytes: Size of the text in UTF-8.
        characters: Number of characters of the text.
        special_tokens: Number of special tokens that the text spells out.
        lost: Characters that the tokenizer cannot represent -> number of occurrences.
    """

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    characters: int = 0
    special_tokens: int = 0
    lost: Counter[str] = field(default_factory=Counter)


def run(
    settings: TokenizeSettings, clean: Path, base: Path, tokens: Path, metrics: Path
) -> str:
    """Write the folder of tokens and its numbers; memory does not grow with the text.

    Each document becomes BOS, its tokens and EOS, and the documents of a split follow
    one another. Training cuts that stream into blocks of `sequence_length` tokens.

    Args:
        settings: The `tokenize` section.
        clean: Folder of the splits that prepare made (data/clean).
        base: Folder of the base model that fetch made (models/base).
        tokens: Folder to publish: tokens, where documents start, tokens.json
            (data/tokens).
        metrics: JSON file to write: tokens and blocks of each split
            (metrics/tokens.json).

    Returns:
        The number of training tokens and blocks, for people.

    Raises:
        RetuneError: If the model or its tokenizer cannot hold the text.
    """
    verify_folder(clean, "prepare")
    verify_folder(base, "fetch", leave_out=[WEIGHTS])
    facts = ModelFacts.read(base)
    tokenizer = ModelTokenizer.of(base, facts)
    length = resolve_length(
        *("tokenize.sequence_length", settings.sequence_length),
        *(facts, LONGEST_AUTO_SEQUENCE),
    )
    with published_folder(tokens) as stage:
        counts = {
            split: write_split(
                clean / f"{split}.parquet", stage, split, tokenizer, facts
            )
            for split in SPLITS
        }
        check_lost(counts, settings.max_lost_share)
        check_sizes(counts, length)
        index = TokensIndex(
            sequence_length=length,
            vocab_size=facts.vocab_size,
            splits={split: size_of(count) for split, count in counts.items()},
            dtype=token_dtype(facts.vocab_size).str,
            bos_token_id=facts.bos_token_id,
            eos_token_id=facts.eos_token_id,
            tokenizer_sha256=sha256(tokenizer.path),
        )
        index.write(stage)
        write_counts(stage, index)
        write_manifest(stage)
    warn_of_special_tokens(counts, facts.split_special_tokens)
    numbers = TokenMetrics(
        sequence_length=length,
        vocab_size=facts.vocab_size,
        splits={split: numbers_of(count, length) for split, count in counts.items()},
    )
    numbers.write(metrics)
    train = numbers.splits["train"]
    lost = sum(count.lost.total() for count in counts.values())
    return (
        f"{counted(train.tokens, 'training token')} of"
        f" {train.bytes_per_token:.2f} bytes:"
        f" {counted(train.blocks, 'block')} of {length}"
        + (f"; {counted(lost, 'character')} lost" if lost else "")
    )


def size_of(count: SplitCounts) -> SplitSize:
    """Return a split's size for the index."""
    return SplitSize(documents=count.documents, tokens=count.tokens, bytes=count.bytes)


def numbers_of(count: SplitCounts, length: int) -> SplitNumbers:
    """Return a split's numbers for metrics/tokens.json."""
    return SplitNumbers(
        documents=count.documents,
        tokens=count.tokens,
        blocks=count.tokens // length,
        bytes_per_token=round(count.bytes / max(count.tokens, 1), 3),
        special_tokens_spelled_out=count.special_tokens,
        lost_characters=count.lost.total(),
    )


def warn_of_special_tokens(counts: Mapping[Split, SplitCounts], are_text: bool) -> None:
    """Log how the special tokens that texts spell out were encoded, if there are any.

    Args:
        counts: What was counted in each split.
        are_text: The setting `model.split_special_tokens`.
    """
    number = sum(count.special_tokens for count in counts.values())
    if not number:
        return
    became, other, otherwise = (
        ("encoded as text", "false", "makes them special tokens")
        if are_text
        else ("encoded as special tokens", "true", "makes them text")
    )
    log.warning(
        "%d special tokens are spelled out in the text and were %s;"
        " model.split_special_tokens: %s %s",
        *(number, became, other, otherwise),
    )


def check_lost(counts: Mapping[Split, SplitCounts], most: float) -> None:
    """Log which characters are lost; raise RetuneError if a split loses too many.

    Args:
        counts: What was counted in each split.
        most: The setting `tokenize.max_lost_share`.
    """
    problems = []
    for split, count in counts.items():
        if not (lost := count.lost.total()):
            continue
        share = lost / count.characters
        shown = ", ".join(
            f"{character!r} ({times:,})"
            for character, times in count.lost.most_common(SHOWN_CHARACTERS)
        )
        message = (
            f"the tokenizer cannot represent {lost:,} of {split}'s"
            f" {count.characters:,} characters ({100 * share:.2g} %): {shown}"
        )
        log.warning("%s", message)
        if share > most:
            problems.append(message)
    if problems:
        raise RetuneError(
            f"tokenize.max_lost_share: {most}, but {'; '.join(problems)}; take a model"
            " for this text"
        )


def write_split(
    source: Path,
    folder: Path,
    split: Split,
    tokenizer: ModelTokenizer,
    facts: ModelFacts,
) -> SplitCounts:
    """Write the tokens of one split; return what was counted.

    Args:
        source: Parquet file of the split that `prepare` made.
        folder: Folder of tokens.
        split: The split.
        tokenizer: Tokenizer of the base model.
        facts: Facts of the base model.
    """
    count = SplitCounts()
    bos, eos = facts.bos_token_id, facts.eos_token_id
    num_rows = pq.read_metadata(source).num_rows
    with (
        written_split(folder, split, token_dtype(facts.vocab_size)) as stream,
        progress_bar("tokenize", num_rows, "documents") as bar,
    ):
        for texts in read_texts(source):
            encoded = list(tokenizer.encode(texts))
            for ids in encoded:
                stream.append([bos, *ids, eos])
            count.documents += len(texts)
            count.bytes += sum(len(text.encode()) for text in texts)
            count.characters += sum(map(len, texts))
            count.special_tokens += sum(map(tokenizer.count_special_tokens, texts))
            count.lost += tokenizer.lost_characters.count(texts, encoded)
            bar.update(len(texts))
        count.tokens = stream.tokens
    log.info("%s: %d documents, %d tokens", split, count.documents, count.tokens)
    return count


def read_texts(source: Path) -> Iterator[list[str]]:
    """Yield the texts of a parquet file in batches, in order."""
    for batch in pq.ParquetFile(source).iter_batches(
        DOCUMENTS_PER_BATCH, columns=["text"]
    ):
        yield from batches_of(batch.column(0).to_pylist())


def check_sizes(counts: Mapping[Split, SplitCounts], length: int) -> None:
    """Raise RetuneError if a split is too small to fill one block of `length`."""
    splits: tuple[Split, ...] = ("train", "validation")
    for split in splits:
        if counts[split].tokens < length:
            raise RetuneError(
                f"{split} has {counts[split].tokens} tokens, less than one block of"
                f" tokenize.sequence_length ({length}): add data or shorten it"
            )
