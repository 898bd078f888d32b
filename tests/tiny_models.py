"""A tiny GPT-2 folder and tiny splits, as `fetch` and `prepare` leave them."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from retune.models.find_model_facts import find_model_facts

SENTENCES = [
    "Return the number of items in the list.",
    "This module provides a way to read and write files.",
    "If the argument is None, an empty dictionary is returned.",
    "Raise an error unless every item of the list is a number – naïve, but clear.",
]


def build_tiny_model(
    folder: Path,
    seed: int = 0,
    context: int = 16,
    change: Callable[[GPT2LMHeadModel], None] | None = None,
) -> Path:
    """Write a GPT-2 of 10,000 random weights, its byte-level BPE and its facts."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        SENTENCES, 300, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=bpe.get_vocab_size(),
            n_positions=context,
            n_embd=16,
            n_layer=2,
            n_head=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.5,
        )
    )
    if change:
        with torch.no_grad():
            change(model)
    model.save_pretrained(folder)
    find_model_facts(folder).write(folder)
    return folder


def write_splits(folder: Path, **splits: list[str]) -> Path:
    """Write one parquet file per split with the columns id, group and text."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, texts in splits.items():
        ids = [f"{split}-{number}" for number in range(len(texts))]
        table = pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "group": pa.array(ids, pa.string()),
                "text": pa.array(texts, pa.string()),
            }
        )
        pq.write_table(table, folder / f"{split}.parquet")
    return folder
