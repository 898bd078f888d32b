"""Tokens that `tokenize` might have made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retune.artifacts.tokens_index import (
    SourceBlocks,
    SplitNumbers,
    SplitSize,
    TokenMetrics,
    TokensIndex,
)
from retune.settings import SPLITS, Split
from retune.settings.tokenize import Overlong, Packing
from retune.tokens.packing import Packed, pack_split
from retune.tokens.store import written_split

DTYPE = np.dtype("<u2")


def make_index(train_tokens: int = 0, **changes: Any) -> TokensIndex:
    """Return an index of so many training tokens, with some values changed."""
    length = changes.get("sequence_length", 32)
    sizes = {split: 0 for split in SPLITS} | {"train": train_tokens}
    values = {
        "sequence_length": length,
        "has_answers": False,
        "packing": "wrap",
        "vocab_size": 300,
        "splits": {
            split: SplitSize(
                documents=1,
                sequences=1,
                tokens=tokens,
                bytes=tokens,
                blocks=tokens // length,
            )
            for split, tokens in sizes.items()
        },
        "dtype": DTYPE.str,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "tokenizer_sha256": "",
    }
    return TokensIndex(**values | changes)


def make_sources(**blocks: int) -> tuple[SourceBlocks, ...]:
    """Return sources of so many blocks by name, of two documents each."""
    return tuple(
        SourceBlocks(
            name=name,
            documents=2 * count or 1,
            sequences=2 * count or 1,
            blocks=count,
            trained_tokens=31 * count,
        )
        for name, count in blocks.items()
    )


def write_index(folder: Path, train_tokens: int = 0, **changes: Any) -> None:
    """Write such an index."""
    folder.mkdir(parents=True, exist_ok=True)
    make_index(train_tokens, **changes).write(folder)


def write_packed(
    folder: Path,
    split: Split,
    sequences: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    *,
    length: int,
    packing: Packing = "best_fit",
    overlong: Overlong = "drop",
) -> Packed:
    """Write and pack the sequences of a split as `tokenize` does.

    Args:
        folder: Folder of tokens.
        split: The split.
        sequences: Tokens of each sequence.
        masks: Which of them are trained; None if all are.
        length: Tokens per block.
        packing: How sequences fill the blocks.
        overlong: What becomes of sequences that are longer than a block.
    """
    folder.mkdir(parents=True, exist_ok=True)
    has_answers = masks is not None
    with written_split(folder, split, DTYPE, has_answers) as stream:
        for number, ids in enumerate(sequences):
            stream.append(ids, [len(ids)], masks[number] if has_answers else None)
    packed = Packed.total(
        pack_split(folder, split, DTYPE, length, packing, overlong, has_answers)
    )
    write_index(
        folder,
        stream.tokens,
        sequence_length=length,
        has_answers=has_answers,
        packing=packing,
    )
    return packed


def make_token_metrics(blocks: int, sequence_length: int) -> TokenMetrics:
    """Return the numbers of so many training blocks."""
    numbers = SplitNumbers(
        documents=1,
        sequences=1,
        tokens=blocks * sequence_length,
        trained_tokens=blocks * (sequence_length - 1),
        trained_share=1.0,
        blocks=blocks,
        padding_share=0.0,
        bytes_per_token=1.0,
        special_tokens_spelled_out=0,
        lost_characters=0,
    )
    splits = dict.fromkeys(SPLITS, numbers)
    return TokenMetrics(
        sequence_length=sequence_length,
        has_answers=False,
        packing="wrap",
        vocab_size=300,
        splits=splits,
    )
