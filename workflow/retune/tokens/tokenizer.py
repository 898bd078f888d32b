"""The tokenizer of a model, the same in every step: what its tokenizer.json says."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.tokens.lost_characters import LostCharacters
from retune.tokens.text_batches import batches_of

FILE = "tokenizer.json"
# Models that look whole strings up in their vocabulary, as a BPE does that ignores its
# merges for such; merges never reach a special token's.
LOOKS_UP_STRINGS = ("Unigram", "WordLevel", "WordPiece")
# No text holds it: it is no character, by Unicode's definition.
HIDDEN = "\U0010ffff"
NOTHING = r"(?!)"
# How an added token is looked for in a text.
AS_IT_STANDS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)

Ids = Sequence[int] | np.ndarray


class Difference(NamedTuple):
    """Where two encodings of a document part, for people."""

    document: str
    text: str


class ModelTokenizer:
    """Encodes documents as the model is trained on them.

    The file says all of it: a class that a config names, and the installed
    Transformers, decide nothing. Nothing is cut, padded, or added at the ends. Special
    tokens spelled out in a text are text, unless the facts say otherwise.

    Attributes:
        path: The tokenizer's file.
        splits_special_tokens: Whether special tokens spelled out in a text are text.
    """

    def __init__(
        self,
        folder: Path,
        vocab_size: int,
        marks: Collection[int],
        split_special_tokens: bool = True,
    ) -> None:
        """Load the tokenizer of a folder.

        Args:
            folder: A model's.
            vocab_size: Tokens that the model has.
            marks: The tokens before and after a document: special, whatever the file
                says of them.
            split_special_tokens: Whether special tokens spelled out in a text are text.

        Raises:
            RetuneError: If the file is damaged.
        """
        self.path = folder / FILE
        self.splits_special_tokens = split_special_tokens
        self._vocab_size = vocab_size
        content = with_marks(read_tokenizer(self.path), marks)
        self._model = content["model"]
        special = special_tokens(content, marks)
        added = mark_special(content, special)
        content = {**content, "added_tokens": added}
        self._special_ids = {token["id"] for token in added if token["special"]}
        self._decoder = build(content, self.path)
        if split_special_tokens:
            content = without_special_tokens(content, special)
        self._encoder = build(content, self.path)
        self._encoder.encode_special_tokens = split_special_tokens
        pattern = "|".join(map(re.escape, sorted(special, reverse=True)))
        self._spelled = re.compile(pattern or NOTHING)

    @classmethod
    def of(cls, folder: Path, facts: ModelFacts) -> "ModelTokenizer":
        """Load the tokenizer of a folder, as it is used with a base model."""
        marks = (facts.bos_token_id, facts.eos_token_id)
        return cls(folder, facts.vocab_size, marks, facts.split_special_tokens)

    @property
    def size(self) -> int:
        """The number of its tokens."""
        return self._decoder.get_vocab_size()

    @cached_property
    def lost_characters(self) -> LostCharacters:
        """What counts the characters that it cannot represent."""
        return LostCharacters(self._model, self._encoder)

    def encode(self, texts: Sequence[str]) -> Iterable[list[int]]:
        """Yield each text's tokens.

        Raises:
            RetuneError: If a text cannot be encoded, or with tokens that the model
                does not have.
        """
        for batch in batches_of(texts):
            try:
                encoded = self._encoder.encode_batch_fast(
                    batch, add_special_tokens=False
                )
            except Exception as error:  # tokenizers knows no other type
                raise RetuneError(
                    f"{self.path} cannot encode every text: {error}"
                ) from error
            for encoding in encoded:
                ids = encoding.ids
                if ids and max(ids) >= self._vocab_size:
                    raise RetuneError(
                        f"{self.path} has id {max(ids)}"
                        f" ({self.name_of(max(ids))}), but the model's vocab_size is"
                        f" {self._vocab_size}: they do not belong together"
                    )
                yield ids

    def encode_arrays(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return each text's tokens, int32 [tokens]."""
        return [np.array(ids, dtype=np.int32) for ids in self.encode(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        kept = [token for token in ids if token not in self._special_ids]
        return self._decoder.decode(kept)

    def name_of(self, token: int) -> str:
        """Return a token as the vocabulary has it."""
        return self._decoder.id_to_token(token) or f"token {token}"

    def count_special_tokens(self, text: str) -> int:
        """Return how many special tokens are spelled out in a text."""
        return len(self._spelled.findall(text))

    def find_difference(
        self, names: Iterable[str], ours: Iterable[Ids], others: Iterable[Ids]
    ) -> Difference | None:
        """Return the first difference between two encodings of the same documents."""
        for name, mine, other in zip(names, ours, others, strict=True):
            if list(mine) != list(other):
                return Difference(name, self._first_difference(mine, other))
        return None

    def _first_difference(self, ours: Ids, others: Ids) -> str:
        shared = min(len(ours), len(others))
        at = next((i for i in range(shared) if ours[i] != others[i]), shared)
        mine, other = (
            f"{ids[at]} ({self.name_of(int(ids[at]))})" if at < len(ids) else "none"
            for ids in (ours, others)
        )
        return f"token {at} is {other} there, and here {mine}"


def read_tokenizer(path: Path) -> dict[str, Any]:
    """Return what a tokenizer.json holds.

    Raises:
        RetuneError: If it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["model"]["vocab"]
    except (ValueError, TypeError, KeyError) as error:
        raise RetuneError(f"{path} is damaged: {error!r}") from error
    # Older files leave the model's type out, and tokenizers finds it out.
    if "type" not in content["model"]:
        whole = json.loads(build(content, path).to_str())
        content["model"]["type"] = whole["model"]["type"]
    return content


def build(content: dict[str, Any], path: Path) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json; it neither cuts nor pads.

    Raises:
        RetuneError: If `tokenizers` does not know it.
    """
    try:
        tokenizer = Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # tokenizers knows no other type
        raise RetuneError(f"{path} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def with_marks(content: dict[str, Any], marks: Collection[int]) -> dict[str, Any]:
    """Return a tokenizer.json in which BOS and EOS are among the added tokens.

    A file may have them in its vocabulary alone, where they are words like others.
    """
    added = content.get("added_tokens") or []
    there = {token["id"] for token in added}
    vocab = content["model"]["vocab"]
    if isinstance(vocab, list):
        names = {number: piece for number, (piece, _) in enumerate(vocab)}
    else:
        names = {number: name for name, number in vocab.items()}
    new = [
        {"id": mark, "content": names[mark], "special": True, **AS_IT_STANDS}
        for mark in sorted(set(marks) - there)
        if mark in names
    ]
    return {**content, "added_tokens": [*added, *new]}


def special_tokens(content: dict[str, Any], marks: Collection[int]) -> set[str]:
    """Return the special tokens: those that the file calls so, and BOS and EOS."""
    return {
        token["content"]
        for token in content.get("added_tokens") or []
        if token["special"] or token["id"] in marks
    }


def mark_special(content: dict[str, Any], special: set[str]) -> list[dict[str, Any]]:
    """Return the added tokens of a tokenizer.json, all special ones marked so."""
    return [
        {**token, "special": token["content"] in special}
        for token in content.get("added_tokens") or []
    ]


def without_special_tokens(
    content: dict[str, Any], special: set[str]
) -> dict[str, Any]:
    """Return a tokenizer.json that finds no special tokens in a text.

    `encode_special_tokens` alone does not do it: a model that looks up whole strings
    finds the string of a special token in its vocabulary.
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
