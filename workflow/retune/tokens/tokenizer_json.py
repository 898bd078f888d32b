"""The content of a tokenizer.json, and what is changed of it before it is used."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from retune.errors import RetuneError

FILE = "tokenizer.json"
# Models that look whole strings up in their vocabulary. A BPE with `ignore_merges` does
# so, too. Other BPEs never make a special token of its characters.
LOOKS_UP_STRINGS = ("Unigram", "WordLevel", "WordPiece")
# Put before a string, it makes one that no text holds: Unicode says that it is no
# character.
HIDDEN = "\U0010ffff"
# With these values, an added token is found in a text only as it is spelled.
AS_SPELLED = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def read_tokenizer(path: Path) -> dict[str, Any]:
    """Return the content of a tokenizer.json, with the type of its model.

    Raises:
        RetuneError: If it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["model"]["vocab"]
    except (ValueError, TypeError, KeyError) as error:
        raise RetuneError(f"{path} is damaged: {error!r}") from error
    # Older files leave the type out, and `tokenizers` infers it.
    if "type" not in content["model"]:
        whole = json.loads(build_tokenizer(content, path).to_str())
        content["model"]["type"] = whole["model"]["type"]
    return content


def build_tokenizer(content: dict[str, Any], path: Path) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, without a post-processor.

    It neither truncates nor pads, nor does it add anything at the ends of a text.

    Args:
        content: The content of the file.
        path: The file, for the message.

    Raises:
        RetuneError: If `tokenizers` cannot read it.
    """
    try:
        tokenizer = Tokenizer.from_str(json.dumps({**content, "post_processor": None}))
    except Exception as error:  # `tokenizers` raises no narrower type.
        raise RetuneError(f"{path} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def with_added_tokens(content: dict[str, Any], ids: Collection[int]) -> dict[str, Any]:
    """Return a tokenizer.json in which some tokens are among the added tokens.

    A file may have BOS and EOS in its vocabulary alone, where they are words like all
    others.

    Args:
        content: The content of the file.
        ids: Ids of these tokens.
    """
    added = content.get("added_tokens") or []
    present = {token["id"] for token in added}
    vocab = content["model"]["vocab"]
    if isinstance(vocab, list):
        names = {number: piece for number, (piece, _) in enumerate(vocab)}
    else:
        names = {number: name for name, number in vocab.items()}
    new = [
        {"id": number, "content": names[number], "special": True, **AS_SPELLED}
        for number in sorted(set(ids) - present)
        if number in names
    ]
    return {**content, "added_tokens": [*added, *new]}


def special_tokens(content: dict[str, Any], ids: Collection[int]) -> set[str]:
    """Return the added tokens that the file calls special, or that have these ids."""
    return {
        token["content"]
        for token in content.get("added_tokens") or []
        if token["special"] or token["id"] in ids
    }


def with_special_tokens(content: dict[str, Any], special: set[str]) -> dict[str, Any]:
    """Return a tokenizer.json that calls exactly these added tokens special."""
    added = [
        {**token, "special": token["content"] in special}
        for token in content.get("added_tokens") or []
    ]
    return {**content, "added_tokens": added}


def without_special_tokens(
    content: dict[str, Any], special: set[str]
) -> dict[str, Any]:
    """Return a tokenizer.json that finds no special tokens in a text.

    To set `encode_special_tokens` does not suffice: a model that looks up whole strings
    finds the string of a special token in its vocabulary.

    Args:
        content: The content of the file.
        special: The special tokens.
    """
    model = content["model"]
    if model["type"] not in LOOKS_UP_STRINGS and not model.get("ignore_merges"):
        return content
    vocab = model["vocab"]
    unknown = model.get("unk_token")
    if isinstance(vocab, list):
        hidden = {piece for piece, _ in vocab if piece in special}
        vocab = [
            [f"{HIDDEN}{piece}" if piece in hidden else piece, score]
            for piece, score in vocab
        ]
    else:
        hidden = {name for name in special if name in vocab and name != unknown}
        vocab = {
            f"{HIDDEN}{name}" if name in hidden else name: token
            for name, token in vocab.items()
        }
    return {
        **content,
        "added_tokens": [
            token for token in content["added_tokens"] if token["content"] not in hidden
        ],
        "model": {**model, "vocab": vocab},
    }
