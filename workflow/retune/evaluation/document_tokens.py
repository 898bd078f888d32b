"""The tokens of held-out documents, compared with those of training and of others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.tokens.auto_tokenizer import (
    LIBRARY,
    find_other_encoding,
    load_auto_tokenizer,
)
from retune.tokens.store import read_documents, tokens_file
from retune.tokens.tokenizer import ModelTokenizer


def encode_documents(
    tokenizer: ModelTokenizer, documents: pa.Table
) -> list[np.ndarray]:
    """Return each document's tokens, which AutoTokenizer gives as well.

    Documents that spell out a special token are not compared, see
    `find_other_encoding`.

    Raises:
        RetuneError: If AutoTokenizer, loaded from the folder afresh, encodes one of
            them otherwise.
    """
    folder = tokenizer.path.parent
    texts = documents["text"].to_pylist()
    encoded = tokenizer.encode_arrays(texts)
    names = names_of(documents)
    try:
        auto = load_auto_tokenizer(folder)
    except RetuneError as error:
        raise RetuneError(f"{folder}: {error}") from error
    if found := find_other_encoding(auto, tokenizer, names, texts, encoded):
        raise RetuneError(
            f"{folder}: AutoTokenizer of {LIBRARY} encodes {found.document} otherwise"
            f" than tokenizer.json, by which the model is trained: {found.text}; write"
            " the tokenizer_class PreTrainedTokenizerFast into the base model's"
            " tokenizer_config.json"
        )
    return encoded


def names_of(documents: pa.Table) -> list[str]:
    """Return what to call each document in an error."""
    columns = documents["split"].to_pylist(), documents["id"].to_pylist()
    return [
        f"document {name!r} of {split}" for split, name in zip(*columns, strict=True)
    ]


def check_same_as_training(
    tokenizer: ModelTokenizer,
    facts: ModelFacts,
    documents: pa.Table,
    encoded: Sequence[np.ndarray],
    tokens: Path,
) -> None:
    """Raise RetuneError unless `tokenize` wrote the same tokens of these documents.

    Args:
        tokenizer: Tokenizer that encoded the documents.
        facts: Facts of the base model.
        documents: Table of the documents of one or several splits, in their order.
        encoded: Tokens of each document.
        tokens: Folder that `tokenize` wrote.
    """
    names, splits = names_of(documents), documents["split"].to_pylist()
    for split in dict.fromkeys(splits):
        chosen = [number for number, each in enumerate(splits) if each == split]
        whole = [
            np.array([facts.bos_token_id, *encoded[number], facts.eos_token_id])
            for number in chosen
        ]
        made = read_documents(tokens, split)
        file = tokens_file(tokens, split)
        if len(made) != len(whole):
            raise RetuneError(
                f"{file} has {len(made)} documents, and {split} has {len(whole)} now:"
                " run tokenize again"
            )
        found = tokenizer.find_difference(
            [names[number] for number in chosen], whole, made
        )
        if found:
            raise RetuneError(
                f"{file} has other tokens of {found.document} than {tokenizer.path}"
                f" gives: {found.text}; run tokenize again, and what follows it"
            )
