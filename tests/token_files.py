"""Tokens that `tokenize` might have made."""

from pathlib import Path
from typing import Any

from retune.artifacts.tokens_index import (
    SplitNumbers,
    SplitSize,
    TokenMetrics,
    TokensIndex,
)
from retune.settings import SPLITS


def make_index(train_tokens: int = 0, **changes: Any) -> TokensIndex:
    """Return an index of so many training tokens, with some values changed."""
    sizes = {split: 0 for split in SPLITS} | {"train": train_tokens}
    values = {
        "sequence_length": 32,
        "vocab_size": 300,
        "splits": {
            split: SplitSize(documents=1, tokens=tokens, bytes=tokens)
            for split, tokens in sizes.items()
        },
        "dtype": "<u2",
        "bos_token_id": 0,
        "eos_token_id": 0,
        "tokenizer_sha256": "",
    }
    return TokensIndex(**values | changes)


def write_index(folder: Path, train_tokens: int = 0, **changes: Any) -> None:
    """Write such an index."""
    folder.mkdir(parents=True, exist_ok=True)
    make_index(train_tokens, **changes).write(folder)


def make_token_metrics(blocks: int, sequence_length: int) -> TokenMetrics:
    """Return the numbers of so many training blocks."""
    numbers = SplitNumbers(
        documents=1,
        tokens=blocks * sequence_length,
        blocks=blocks,
        bytes_per_token=1.0,
        special_tokens_spelled_out=0,
        lost_characters=0,
    )
    splits = dict.fromkeys(SPLITS, numbers)
    return TokenMetrics(sequence_length=sequence_length, vocab_size=300, splits=splits)
