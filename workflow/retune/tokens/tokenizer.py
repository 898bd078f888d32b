"""The tokenizer of a model, the same in every step: what its tokenizer.json says."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.tokens.encoded_texts import EncodedTexts, check_known
from retune.tokens.lost_characters import LostCharacters
from retune.tokens.offset_encoder import OffsetEncoder, with_aliases
from retune.tokens.text_batches import batches_of
from retune.tokens.tokenizer_json import (
    FILE,
    build_tokenizer,
    read_tokenizer,
    special_tokens,
    with_added_tokens,
    with_special_tokens,
    without_special_tokens,
)

# A regular expression that matches no text.
NOTHING = r"(?!)"

# Ids of tokens, in their order.
Ids = Sequence[int] | np.ndarray


class Difference(NamedTuple):
    """The first difference between two encodings of a document.

    Attributes:
        document: Name of the document.
        text: The two tokens and their place, for a message.
    """

    document: str
    text: str


class ModelTokenizer:
    """Encodes documents as the model is trained on them.

    The file alone decides: the class that a config names and the installed Transformers
    have no effect. Texts are not truncated or padded, and nothing is added at the ends.

    Attributes:
        path: The file tokenizer.json.
        splits_special_tokens: Whether special tokens spelled out in a text are text.
        special: Special tokens, as they are spelled.
        added: Tokens that are found in a text before all others, as they are spelled.
    """

    def __init__(
        self,
        folder: Path,
        vocab_size: int,
        bos_eos: Collection[int],
        split_special_tokens: bool = True,
    ) -> None:
        """Load the tokenizer of a folder.

        Args:
            folder: Folder of a model.
            vocab_size: Number of tokens that the model has.
            bos_eos: Ids of the tokens before and after a document, which are special
                whatever the file says of them.
            split_special_tokens: Whether special tokens spelled out in a text are text.

        Raises:
            RetuneError: If the file is damaged.
        """
        self.path = folder / FILE
        self.splits_special_tokens = split_special_tokens
        self._vocab_size = vocab_size
        content = with_added_tokens(read_tokenizer(self.path), bos_eos)
        self._model = content["model"]
        special = special_tokens(content, bos_eos)
        content = with_special_tokens(content, special)
        self.special = frozenset(special)
        self.added = tuple(token["content"] for token in content["added_tokens"])
        self._content = content
        self._special_ids = {
            token["id"] for token in content["added_tokens"] if token["special"]
        }
        self._decoder = build_tokenizer(content, self.path)
        if split_special_tokens:
            content = without_special_tokens(content, special)
        self._encoder = build_tokenizer(content, self.path)
        self._encoder.encode_special_tokens = split_special_tokens
        pattern = "|".join(map(re.escape, sorted(special, reverse=True)))
        self._spelled = re.compile(pattern or NOTHING)

    @classmethod
    def of(cls, folder: Path, facts: ModelFacts) -> "ModelTokenizer":
        """Load the tokenizer of a folder, as it is used with a base model."""
        bos_eos = (facts.bos_token_id, facts.eos_token_id)
        return cls(folder, facts.vocab_size, bos_eos, facts.split_special_tokens)

    @property
    def size(self) -> int:
        """Number of tokens of the tokenizer; the model may have more."""
        return self._decoder.get_vocab_size()

    @cached_property
    def lost_characters(self) -> LostCharacters:
        """Counter of the characters that the tokenizer cannot represent."""
        return LostCharacters(self._model, self._encoder)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's tokens; raise RetuneError as `encode_texts` does."""
        return [ids.tolist() for ids in self.encode_texts(texts).split()]

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Return the tokens of texts.

        Several threads may do so at a time: `tokenizers` lets go of Python's lock.

        Raises:
            RetuneError: If a text cannot be encoded, or with tokens that the model
                does not have.
        """
        parts = [EncodedTexts.of([])]
        for batch in batches_of(texts):
            try:
                encoded = self._encoder.encode_batch_fast(
                    batch, add_special_tokens=False
                )
            except Exception as error:  # `tokenizers` raises no narrower type.
                raise RetuneError(
                    f"{self.path} cannot encode every text: {error}"
                ) from error
            parts.append(EncodedTexts.of(encoded))
        whole = EncodedTexts.joined(parts)
        check_known(whole.ids, self._vocab_size, self.name_of, self.path)
        return whole

    def text_encoder(self) -> OffsetEncoder:
        """Return an encoder of texts that tells the place of each token."""
        return OffsetEncoder(self._encoder, self.path, self._vocab_size, self.name_of)

    def control_encoder(self, names: Mapping[str, str] | None = None) -> OffsetEncoder:
        """Return an encoder to which special tokens in a text are special tokens.

        Args:
            names: Other names by which a text names some of the special tokens.
        """
        if not names:
            return OffsetEncoder(
                self._decoder, self.path, self._vocab_size, self.name_of
            )
        special = set(self.special)
        known = self._decoder.get_added_tokens_decoder()
        hidden = without_special_tokens(self._content, special)
        aliased = build_tokenizer(with_aliases(hidden, names), self.path)
        ids = {
            token: number
            for number, each in known.items()
            if (token := aliased.token_to_id(names.get(each.content, each.content)))
            is not None
        }
        return OffsetEncoder(aliased, self.path, self._vocab_size, self.name_of, ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; special tokens are left out."""
        kept = [token for token in ids if token not in self._special_ids]
        return self._decoder.decode(kept)

    def name_of(self, token: int) -> str:
        """Return the string that a token has in the vocabulary."""
        return self._decoder.id_to_token(token) or f"token {token}"

    def count_special_tokens(self, text: str) -> int:
        """Return how many special tokens are spelled out in a text."""
        return len(self._spelled.findall(text))

    def find_difference(
        self, names: Iterable[str], ours: Iterable[Ids], others: Iterable[Ids]
    ) -> Difference | None:
        """Return the first difference between two encodings of the same documents.

        Args:
            names: Name of each document.
            ours: Tokens of each document as this tokenizer encodes it.
            others: Tokens of each document as something else encodes it.
        """
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

    def is_special(self, token: int) -> bool:
        """Return whether a token is special, or none that the tokenizer has."""
        return token in self._special_ids or self._decoder.id_to_token(token) is None

    def decode_within(self, ids: Sequence[int]) -> str:
        """Return the text of tokens as it is after other text.

        Many decoders drop the space at the start of a text. Special tokens are left
        out.
        """
        before = self._encoder.encode("a", add_special_tokens=False).ids
        start, whole = self.decode(before), self.decode([*before, *ids])
        return (
            whole.removeprefix(start) if whole.startswith(start) else self.decode(ids)
        )
