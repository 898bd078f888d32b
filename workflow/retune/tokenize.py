"""The step `tokenize`: text to one stream of tokens per split, once, on the CPU."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from retune.errors import RetuneError
from retune.progress import progress_bar
from retune.publishing import (
    published_folder,
    read_json,
    sha256,
    write_json,
    write_manifest,
)
from retune.settings import TokenizeSettings

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
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
    config = read_json(base / "config.json")
    length = resolve_sequence_length(settings.sequence_length, config)
    vocab_size = config["vocab_size"]
    bos, eos = document_marks(base, tokenizer)
    dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
    numbers: dict[str, Any] = {
        "sequence_length": length,
        "vocab_size": vocab_size,
        "splits": {},
    }
    with published_folder(tokens) as stage:
        for split in SPLITS:
            numbers["splits"][split] = write_split(
                clean / f"{split}.parquet", stage, split, tokenizer, bos, eos, dtype
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
                "bos_token_id": bos,
                "eos_token_id": eos,
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


def resolve_sequence_length(wanted: int | str, config: dict[str, Any]) -> int:
    """Return the tokens per block, which the model's context must hold."""
    context = config.get("max_position_embeddings", config.get("n_positions"))
    if wanted == "auto":
        return min(context or LONGEST_AUTO_SEQUENCE, LONGEST_AUTO_SEQUENCE)
    if context and wanted > context:
        raise RetuneError(
            f"tokenize.sequence_length: {wanted} is longer than the model's context:"
            f" {context} at most"
        )
    return wanted


def document_marks(base: Path, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the ids of the tokens that open and close a document.

    A model without a BOS token opens with EOS, as GPT-2 was trained to.
    """
    config = read_json(base / "tokenizer_config.json")

    def token_id(key: str) -> int | None:
        token = config.get(key)
        token = token["content"] if isinstance(token, dict) else token
        return None if token is None else tokenizer.token_to_id(token)

    eos = token_id("eos_token")
    if eos is None:
        raise RetuneError(
            f"{base / 'tokenizer_config.json'}: no eos_token, so a document's end could"
            " not be learnt; add the model's end-of-text token there"
        )
    bos = token_id("bos_token")
    return (eos if bos is None else bos), eos


def write_split(
    source: Path,
    folder: Path,
    split: str,
    tokenizer: Tokenizer,
    bos: int,
    eos: int,
    dtype: np.dtype,
) -> dict[str, int]:
    """Write one split's stream and document starts; return its counts."""
    starts, position, num_bytes = [], 0, 0
    num_rows = pq.read_metadata(source).num_rows
    with (
        (folder / f"{split}.tokens.bin").open("wb") as stream,
        progress_bar("tokenize", num_rows, "documents") as bar,
    ):
        for texts in read_texts(source):
            for encoding in tokenizer.encode_batch_fast(
                texts, add_special_tokens=False
            ):
                ids = np.array([bos, *encoding.ids, eos])
                if ids.max() > np.iinfo(dtype).max:
                    raise RetuneError(
                        f"the tokenizer has id {ids.max()}, beyond the model's"
                        " vocab_size in config.json: they do not belong together"
                    )
                starts.append(position)
                position += len(ids)
                stream.write(ids.astype(dtype).tobytes())
            num_bytes += sum(len(text.encode()) for text in texts)
            bar.update(len(texts))
    np.array(starts, dtype="<i8").tofile(folder / f"{split}.documents.bin")
    log.info("%s: %d documents, %d tokens", split, len(starts), position)
    return {"documents": len(starts), "tokens": position, "bytes": num_bytes}


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
        found = np.bincount(piece, minlength=vocab_size)
        if len(found) > vocab_size:
            raise RetuneError(
                f"the tokenizer has id {len(found) - 1}, but the model's vocab_size in"
                f" config.json is {vocab_size}: they do not belong together"
            )
        counts += found
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
