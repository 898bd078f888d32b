"""The tokens of held-out documents, compared with those of training and of others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import sha256
from retune.chat.template import FILE as CHAT_TEMPLATE
from retune.errors import RetuneError
from retune.evaluation.document_scores import examples_of, have_answers
from retune.evaluation.other_rendering import find_other_rendering
from retune.examples.example import Conversation
from retune.settings import HELD_OUT
from retune.tokens.auto_tokenizer import (
    LIBRARY,
    find_other_encoding,
    load_auto_tokenizer,
)
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.sequences import TokenSequence
from retune.tokens.store import StoredSequences, tokens_file, trained_file
from retune.tokens.tokenizer import ModelTokenizer


def encode_documents(
    tokenizer: ModelTokenizer, facts: ModelFacts, documents: pa.Table
) -> list[list[TokenSequence]]:
    """Return the sequences of each document; those of a text are a single one.

    Their trained tokens are those to score: of a text all but those that mark its ends.
    AutoTokenizer gives the same tokens. Documents that spell out a special token are
    not compared, see `find_other_encoding`.

    Args:
        tokenizer: Tokenizer of the model.
        facts: Facts of the base model.
        documents: Table of the documents, as `read_documents` of `document_scores`
            returns it.

    Raises:
        RetuneError: If AutoTokenizer, loaded from the folder afresh, encodes one of
            them otherwise, or the chat template refuses one.
    """
    encode = encode_examples if have_answers(documents) else encode_texts
    return encode(tokenizer, facts, documents)


def encode_texts(
    tokenizer: ModelTokenizer, facts: ModelFacts, documents: pa.Table
) -> list[list[TokenSequence]]:
    """Return the sequence of each text, as `encode_documents` does."""
    texts = documents["text"].to_pylist()
    encoded = tokenizer.encode_texts(texts).split()
    auto = load_auto_tokenizer_of(tokenizer)
    found = find_other_encoding(auto, tokenizer, names_of(documents), texts, encoded)
    if found:
        raise RetuneError(
            f"{tokenizer.path.parent}: AutoTokenizer of {LIBRARY} encodes"
            f" {found.document} otherwise than tokenizer.json, by which the model is"
            f" trained: {found.text}; write the tokenizer_class PreTrainedTokenizerFast"
            " into the base model's tokenizer_config.json"
        )
    return [[scored_text(ids, facts)] for ids in encoded]


def encode_examples(
    tokenizer: ModelTokenizer, facts: ModelFacts, documents: pa.Table
) -> list[list[TokenSequence]]:
    """Return the sequences of each example, as `encode_documents` does."""
    folder = tokenizer.path.parent
    names, examples = names_of(documents), examples_of(documents)
    encoded = ExampleEncoder(folder, facts, tokenizer).encode(names, examples)
    auto = load_auto_tokenizer_of(tokenizer)
    found = find_other_rendering(auto, tokenizer, names, examples, encoded)
    if found:
        raise RetuneError(
            f"{folder}: AutoTokenizer of {LIBRARY} makes other tokens of"
            f" {found.document} than those by which the model is trained: {found.text};"
            " its chat template and tokenizer must be those of the base model"
        )
    return encoded


def load_auto_tokenizer_of(tokenizer: ModelTokenizer) -> PreTrainedTokenizerBase:
    """Return what AutoTokenizer loads from the folder of a tokenizer."""
    folder = tokenizer.path.parent
    try:
        return load_auto_tokenizer(folder)
    except RetuneError as error:
        raise RetuneError(f"{folder}: {error}") from error


def scored_text(ids: np.ndarray, facts: ModelFacts) -> TokenSequence:
    """Return the sequence of a text, in which BOS and EOS are not scored.

    Args:
        ids: Tokens of the text, int32 [tokens].
        facts: Facts of the base model.
    """
    whole = np.array([facts.bos_token_id, *ids, facts.eos_token_id], np.int32)
    is_scored = np.ones(len(whole), bool)
    is_scored[[0, -1]] = False
    return TokenSequence(whole, is_scored)


def chat_template_hash(folder: Path, documents: pa.Table) -> str | None:
    """Return the hash of the chat template that renders documents.

    Args:
        folder: Folder of the model.
        documents: Table of the documents.

    Returns:
        Hex digest; None if no document is a conversation.
    """
    examples = examples_of(documents)
    if any(isinstance(example, Conversation) for example in examples):
        return sha256(folder / CHAT_TEMPLATE)
    return None


def names_of(documents: pa.Table) -> list[str]:
    """Return what to call each document in an error."""
    columns = documents["split"].to_pylist(), documents["id"].to_pylist()
    return [
        f"document {name!r} of {split}" for split, name in zip(*columns, strict=True)
    ]


def check_same_as_training(
    tokenizer: ModelTokenizer,
    documents: pa.Table,
    encoded: Sequence[Sequence[TokenSequence]],
    tokens: Path,
) -> None:
    """Raise RetuneError unless `tokenize` wrote the same tokens of these documents.

    Of examples, the same tokens must be trained, too.

    Args:
        tokenizer: Tokenizer that encoded the documents.
        documents: Table of the documents of both held-out splits.
        encoded: Sequences of each document.
        tokens: Folder that `tokenize` wrote.
    """
    splits = documents["split"].to_pylist()
    rows = list(zip(names_of(documents), splits, encoded, strict=True))
    for split in HELD_OUT:
        ours = [
            (name, sequence)
            for name, each, sequences in rows
            if each == split
            for sequence in sequences
        ]
        made = StoredSequences(tokens, split)
        file = tokens_file(tokens, split)
        if len(made) != len(ours):
            raise RetuneError(
                f"{file} has {len(made)} sequences, and {split} has {len(ours)} now:"
                " run tokenize again"
            )
        for (name, sequence), stored in zip(ours, made, strict=True):
            found = tokenizer.find_difference([name], [sequence.ids], [stored.ids])
            if found:
                raise RetuneError(
                    f"{file} has other tokens of {name} than {tokenizer.path} gives:"
                    f" {found.text}; run tokenize again, and what follows it"
                )
            # The end of a text is trained, and not scored.
            if have_answers(documents) and not np.array_equal(
                sequence.trained, stored.trained
            ):
                raise RetuneError(
                    f"{trained_file(tokens, split)}: other tokens of {name} are trained"
                    " than belong to its answers now: run tokenize again, and what"
                    " follows it"
                )
