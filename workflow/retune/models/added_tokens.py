"""Gives a base model the special tokens that a chat template writes and it lacks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from retune.artifacts.publishing import read_json, write_json, write_text
from retune.errors import RetuneError
from retune.models.added_rows import add_rows
from retune.models.skeleton import build_skeleton
from retune.tokens.auto_tokenizer import LIBRARY, load_auto_tokenizer
from retune.tokens.base_tokenizer import prepare_tokenizer
from retune.tokens.bos_eos import CONFIG, SPECIAL_TOKENS, token_ids
from retune.tokens.tokenizer_json import (
    AS_SPELLED,
    FILE,
    build_tokenizer,
    read_tokenizer,
)

# Key of tokenizer_config.json under which Transformers 4 and 5 find special tokens that
# have no role, such as that of EOS.
LISTED = "additional_special_tokens"
# Key under which Transformers 4 writes all added tokens, by their ids.
DECODER = "added_tokens_decoder"


def add_missing_tokens(
    folder: Path, needed: Sequence[str], wanted: str
) -> tuple[int, ...]:
    """Add the special tokens to a model that its tokenizer lacks.

    Afterwards it is a model like any other: tokenizer, config and weights agree. What a
    new token means is learnt in training.

    Args:
        folder: Folder of the model, with its tokenizer in order.
        needed: The special tokens that a chat template writes.
        wanted: The setting `model.chat_template`, for the message.

    Returns:
        Ids of the tokens for which the model had no trained rows, ascending.

    Raises:
        RetuneError: If the model cannot be given tokens.
    """
    content = read_tokenizer(folder / FILE)
    added = {token["content"] for token in content.get("added_tokens") or []}
    missing = [token for token in needed if token not in added]
    if not missing:
        return ()
    known = token_ids(folder)
    ids = number_tokens(content, folder / FILE, missing)
    # A token may be in the vocabulary as a word like all others.
    new = sorted(number for token, number in ids.items() if token not in known)
    # `tokenizers` numbers from the number of tokens on, whatever ids these have.
    is_taken = not set(new).isdisjoint(known.values())
    has_rows = not new or add_rows(folder, known.values(), new)
    if is_taken or not has_rows:
        raise RetuneError(
            f"model.chat_template: {wanted} writes {', '.join(missing)}, which the"
            " model's tokenizer lacks, and none can be added to this model, whose"
            " vocabulary is an unusual one: write alpaca, which needs no tokens, or a"
            " file with a template of tokens that it has"
        )
    write_tokenizer(folder, content, ids)
    prepare_tokenizer(folder, build_skeleton(folder).config)
    check_encoding(folder, ids)
    return tuple(new)


def number_tokens(
    content: dict[str, Any], path: Path, tokens: Sequence[str]
) -> dict[str, int]:
    """Return the ids that `tokenizers` gives to new tokens of a tokenizer.json.

    Args:
        content: The content of the file.
        path: The file, for a message.
        tokens: The tokens.
    """
    tokenizer = build_tokenizer(content, path)
    tokenizer.add_special_tokens([AddedToken(token, **AS_SPELLED) for token in tokens])
    vocabulary = tokenizer.get_vocab()
    return {token: vocabulary[token] for token in tokens}


def write_tokenizer(
    folder: Path, content: Mapping[str, Any], ids: Mapping[str, int]
) -> None:
    """Write new special tokens into the files of a tokenizer.

    Args:
        folder: Folder of the model.
        content: The content of tokenizer.json.
        ids: The new tokens, with their ids.
    """
    flags = {"special": True, **AS_SPELLED}
    entries = [{"id": ids[token], "content": token, **flags} for token in ids]
    all_added = [*(content.get("added_tokens") or []), *entries]
    whole = json.dumps({**content, "added_tokens": all_added}, ensure_ascii=False)
    write_text(folder / FILE, whole)
    config = read_json(folder / CONFIG)
    other = folder / SPECIAL_TOKENS
    special = read_json(other) if other.exists() else {}
    if special.get(LISTED):
        write_json(other, {**special, LISTED: [*special[LISTED], *ids]})
    listed = config.get(LISTED) or special.get(LISTED) or []
    config[LISTED] = [*listed, *ids]
    if DECODER in config:
        decoder = {
            str(number): {"content": token, **flags} for token, number in ids.items()
        }
        config[DECODER] = {**config[DECODER], **decoder}
    write_json(folder / CONFIG, config)


def check_encoding(folder: Path, ids: Mapping[str, int]) -> None:
    """Raise RetuneError unless Transformers makes each new token of its name."""
    auto = load_auto_tokenizer(folder)
    for token, number in ids.items():
        found = auto.encode(token, add_special_tokens=False)
        if found != [number]:
            raise RetuneError(
                f"model: {LIBRARY} makes tokens {found} of {token}, which was added as"
                f" token {number}: use a copy of the model whose tokenizer has"
                f" {token}, or write model.chat_template: alpaca"
            )
