"""The step `tokenize`: text to one stream of tokens per split, once, on the CPU."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.progress import progress_bar
from retune.publishing import (
    published_folder,
    sha256,
    write_json,
    write_manifest,
)
from retune.settings import SPLITS, TokenizeSettings

log = logging.getLogger(__name__)

DOCUMENTS_PER_BATCH = 1000
LONGEST_AUTO_SEQUENCE = 2048


def run(
    settings: TokenizeSettings, clean: Path, base: Path, tokens: Path, metrics: Path
) -> str:
    """Write `tokens/` and its numbers; memory stays flat whatever the size.

    Each document becomes BOS, its tokens, EOS; the documents of a split follow one
    another in `SPLIT.tokens.bin`, and `SPLIT.documents.bin` (int64) holds where each
    starts. Training cuts the stream into blocks of `sequence_length` tokens.
    """
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    facts = ModelFacts.read(base)
    length = resolve_sequence_length(settings.sequence_length, facts.context_length)
    vocab_size, marks = facts.vocab_size, (facts.bos_token_id, facts.eos_token_id)
    dtype = token_dtype(vocab_size)
    numbers: dict[str, Any] = {
        "sequence_length": length,
        "vocab_size": vocab_size,
        "splits": {},
    }
    with published_folder(tokens) as stage:
        for split in SPLITS:
            numbers["splits"][split] = write_split(
                clean / f"{split}.parquet", stage, split, tokenizer, marks, vocab_size
            )
        check_sizes(numbers)
        np.save(
            stage / "train.counts.npy",
            count_tokens(stage / "train.tokens.bin", dtype, vocab_size),
        )
        write_json(
            stage / "tokens.json",
            {
                **numbers,
                "dtype": dtype.str,
                "bos_token_id": marks[0],
                "eos_token_id": marks[1],
                "tokenizer_sha256": sha256(base / "tokenizer.json"),
            },
        )
        write_manifest(stage)
    for split in numbers["splits"].values():
        split["blocks"] = split["tokens"] // length
        split["bytes_per_token"] = round(split.pop("bytes") / split["tokens"], 3)
    write_json(metrics, numbers)
    train = numbers["splits"]["train"]
    return (
        f"{train['tokens']:,} training tokens of {train['bytes_per_token']:.2f} bytes:"
        f" {train['blocks']:,} blocks of {length}"
    )


def resolve_sequence_length(wanted: int | str, context: int | None) -> int:
    """Return the tokens per block, which the model's context must hold."""
    if wanted == "auto":
        return min(context or LONGEST_AUTO_SEQUENCE, LONGEST_AUTO_SEQUENCE)
    if context and wanted > context:
        raise RetuneError(
            f"tokenize.sequence_length: {wanted} is longer than the model's context:"
            f" {context} at most"
        )
    return wanted


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the smallest type that holds every token."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def write_split(
    source: Path,
    folder: Path,
    split: str,
    tokenizer: Tokenizer,
    marks: tuple[int, int],
    vocab_size: int,
) -> dict[str, int]:
    """Write one split's stream and document starts; return its counts."""
    documents = position = num_bytes = 0
    bos, eos = marks
    num_rows = pq.read_metadata(source).num_rows
    with (
        (folder / f"{split}.tokens.bin").open("wb") as stream,
        (folder / f"{split}.documents.bin").open("wb") as starts,
        progress_bar("tokenize", num_rows, "documents") as bar,
    ):
        for texts in read_texts(source):
            for encoding in tokenizer.encode_batch_fast(
                texts, add_special_tokens=False
            ):
                ids = np.array([bos, *encoding.ids, eos])
                if ids.max() >= vocab_size:
                    raise RetuneError(
                        f"the tokenizer has id {ids.max()}, but the model's vocab_size"
                        f" is {vocab_size}: they do not belong together"
                    )
                starts.write(np.array([position], dtype="<i8").tobytes())
                stream.write(ids.astype(token_dtype(vocab_size)).tobytes())
                position += len(ids)
            documents += len(texts)
            num_bytes += sum(len(text.encode()) for text in texts)
            bar.update(len(texts))
    log.info("%s: %d documents, %d tokens", split, documents, position)
    return {"documents": documents, "tokens": position, "bytes": num_bytes}


def read_texts(source: Path) -> Iterator[list[str]]:
    """Yield the texts of a parquet file in batches, in order."""
    for batch in pq.ParquetFile(source).iter_batches(
        DOCUMENTS_PER_BATCH, columns=["text"]
    ):
        yield batch.column(0).to_pylist()


def count_tokens(stream: Path, dtype: np.dtype, vocab_size: int) -> np.ndarray:
    """Return how often each token occurs, int64 [vocab_size]."""
    counts = np.zeros(vocab_size, dtype="<i8")
    tokens = np.memmap(stream, dtype=dtype, mode="r")
    for start in range(0, len(tokens), 2**24):
        piece = tokens[start : start + 2**24]
        counts += np.bincount(piece, minlength=vocab_size)
    return counts


def check_sizes(numbers: dict[str, Any]) -> None:
    """Raise RetuneError if a split is too small to fill one block."""
    length = numbers["sequence_length"]
    for split in ("train", "validation"):
        if numbers["splits"][split]["tokens"] < length:
            raise RetuneError(
                f"{split} has {numbers['splits'][split]['tokens']} tokens, less than"
                f" one block of tokenize.sequence_length ({length}): add data or"
                " shorten it"
            )
