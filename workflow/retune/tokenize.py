"""The step `tokenize`: text to one stream of tokens per split, once, on the CPU."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.progress import progress_bar
from retune.publishing import (
    published_folder,
    sha256,
    write_json,
    write_manifest,
    write_sealed,
)
from retune.quantities import counted
from retune.settings import SPLITS, TokenizeSettings
from retune.tokens.lengths import resolve_length
from retune.tokens.text_batches import batches_of
from retune.tokens.tokenizer import ModelTokenizer
from retune.verifying import WEIGHTS, verify_folder

log = logging.getLogger(__name__)

DOCUMENTS_PER_BATCH = 1000
LONGEST_AUTO_SEQUENCE = 2048
SHOWN_CHARACTERS = 8


@dataclass
class SplitCounts:
    """What one split came to.

    Attributes:
        documents: Their number.
        tokens: Their number, with BOS and EOS of each document.
        bytes: The text's, in UTF-8.
        characters: The text's.
        special_tokens: How many the text spells out.
        lost: How often it has each character that the tokenizer cannot represent.
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
    """Write `tokens/` and its numbers; memory stays flat whatever the size.

    Each document becomes BOS, its tokens, EOS; the documents of a split follow one
    another in `SPLIT.tokens.bin`, and `SPLIT.documents.bin` (int64) holds where each
    starts. Training cuts the stream into blocks of `sequence_length` tokens.

    Args:
        settings: The `tokenize` section.
        clean: Folder of the splits that prepare made (data/clean).
        base: Folder of the base model that fetch made (models/base).
        tokens: Folder to publish: tokens, where documents start, tokens.json
            (data/tokens).
        metrics: JSON file to write: tokens and blocks of each split
            (metrics/tokens.json).

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
    dtype = token_dtype(facts.vocab_size)
    with published_folder(tokens) as stage:
        counts = {
            split: write_split(
                clean / f"{split}.parquet", stage, split, tokenizer, facts
            )
            for split in SPLITS
        }
        check_lost(counts, settings.max_lost_share)
        check_sizes(counts, length)
        np.save(
            stage / "train.counts.npy",
            count_tokens(stage / "train.tokens.bin", dtype, facts.vocab_size),
        )
        sizes: dict[str, Any] = {
            "sequence_length": length,
            "vocab_size": facts.vocab_size,
        }
        write_json(
            stage / "tokens.json",
            {
                **sizes,
                "splits": {
                    split: {
                        "documents": count.documents,
                        "tokens": count.tokens,
                        "bytes": count.bytes,
                    }
                    for split, count in counts.items()
                },
                "dtype": dtype.str,
                "bos_token_id": facts.bos_token_id,
                "eos_token_id": facts.eos_token_id,
                "tokenizer_sha256": sha256(tokenizer.path),
            },
        )
        write_manifest(stage)
    tell_special_tokens(counts, facts.split_special_tokens)
    splits = {split: numbers_of(count, length) for split, count in counts.items()}
    write_sealed(metrics, {**sizes, "splits": splits})
    train = splits["train"]
    lost = sum(count.lost.total() for count in counts.values())
    return (
        f"{counted(train['tokens'], 'training token')} of"
        f" {train['bytes_per_token']:.2f} bytes:"
        f" {counted(train['blocks'], 'block')} of {length}"
        + (f"; {counted(lost, 'character')} lost" if lost else "")
    )


def numbers_of(count: SplitCounts, length: int) -> dict[str, float]:
    """Return a split's numbers for metrics/tokens.json."""
    return {
        "documents": count.documents,
        "tokens": count.tokens,
        "blocks": count.tokens // length,
        "bytes_per_token": round(count.bytes / max(count.tokens, 1), 3),
        "special_tokens_spelled_out": count.special_tokens,
        "lost_characters": count.lost.total(),
    }


def tell_special_tokens(counts: dict[str, SplitCounts], are_text: bool) -> None:
    """Say what became of the special tokens that texts spell out."""
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


def check_lost(counts: dict[str, SplitCounts], most: float) -> None:
    """Tell of lost characters; raise RetuneError where they are too many."""
    problems = []
    for split, count in counts.items():
        if not (lost := count.lost.total()):
            continue
        share = lost / count.characters
        shown = ", ".join(
            f"{character!r} ({times:,})"
            for character, times in count.lost.most_common(SHOWN_CHARACTERS)
        )
        told = (
            f"the tokenizer cannot represent {lost:,} of {split}'s"
            f" {count.characters:,} characters ({100 * share:.2g} %): {shown}"
        )
        log.warning("%s", told)
        if share > most:
            problems.append(told)
    if problems:
        raise RetuneError(
            f"tokenize.max_lost_share: {most}, but {'; '.join(problems)}; take a model"
            " for this text"
        )


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest type that holds every token."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def write_split(
    source: Path, folder: Path, split: str, tokenizer: ModelTokenizer, facts: ModelFacts
) -> SplitCounts:
    """Write one split's stream and document starts; return its counts."""
    count = SplitCounts()
    bos, eos = facts.bos_token_id, facts.eos_token_id
    dtype = token_dtype(facts.vocab_size)
    num_rows = pq.read_metadata(source).num_rows
    with (
        (folder / f"{split}.tokens.bin").open("wb") as stream,
        (folder / f"{split}.documents.bin").open("wb") as starts,
        progress_bar("tokenize", num_rows, "documents") as bar,
    ):
        for texts in read_texts(source):
            encoded = list(tokenizer.encode(texts))
            for ids in encoded:
                starts.write(np.array([count.tokens], dtype="<i8").tobytes())
                stream.write(np.array([bos, *ids, eos], dtype=dtype).tobytes())
                count.tokens += len(ids) + 2
            count.documents += len(texts)
            count.bytes += sum(len(text.encode()) for text in texts)
            count.characters += sum(map(len, texts))
            count.special_tokens += sum(map(tokenizer.count_special_tokens, texts))
            count.lost += tokenizer.lost_characters.count(texts, encoded)
            bar.update(len(texts))
    log.info("%s: %d documents, %d tokens", split, count.documents, count.tokens)
    return count


def read_texts(source: Path) -> Iterator[list[str]]:
    """Yield the texts of a parquet file in batches, in order."""
    for batch in pq.ParquetFile(source).iter_batches(
        DOCUMENTS_PER_BATCH, columns=["text"]
    ):
        yield from batches_of(batch.column(0).to_pylist())


def count_tokens(stream: Path, dtype: np.dtype, vocab_size: int) -> np.ndarray:
    """Return how often each token occurs, int64 [vocab_size]."""
    counts = np.zeros(vocab_size, dtype="<i8")
    tokens = np.memmap(stream, dtype=dtype, mode="r")
    for start in range(0, len(tokens), 2**24):
        piece = tokens[start : start + 2**24]
        counts += np.bincount(piece, minlength=vocab_size)
    return counts


def check_sizes(counts: dict[str, SplitCounts], length: int) -> None:
    """Raise RetuneError if a split is too small to fill one block."""
    for split in ("train", "validation"):
        if counts[split].tokens < length:
            raise RetuneError(
                f"{split} has {counts[split].tokens} tokens, less than one block of"
                f" tokenize.sequence_length ({length}): add data or shorten it"
            )
