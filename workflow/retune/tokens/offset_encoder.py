"""Encodes texts with the place of each token, in which some parts are trained."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from retune.errors import RetuneError
from retune.tokens.encoded_texts import EncodedTexts, check_known
from retune.tokens.sequences import TokenSequence
from retune.tokens.text_batches import batches_of

Span = tuple[int, int]


class OffsetEncoder:
    """A tokenizer whose offsets cover all characters of a token."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        path: Path,
        vocab_size: int,
        name_of: Callable[[int], str],
        ids: Mapping[int, int] | None = None,
    ) -> None:
        """Take a tokenizer.

        Args:
            tokenizer: The tokenizer, which must have no post-processor. That of a
                byte-level BPE takes the blank before a word out of the offsets of its
                token, so that a token that begins before an answer would seem to begin
                with it.
            path: Its file, for messages.
            vocab_size: Number of tokens that the model has.
            name_of: Returns the string that a token has in the vocabulary.
            ids: Ids of the tokenizer that stand for another id.
        """
        self._encoder = tokenizer
        self._path = path
        self._vocab_size = vocab_size
        self._name_of = name_of
        self._ids = dict(ids or {})

    def encode(
        self, texts: Sequence[str], spans: Sequence[Collection[Span]]
    ) -> list[TokenSequence]:
        """Return the tokens of each text; those within its spans are trained.

        Args:
            texts: The texts.
            spans: For each text, the first character and the one after the last of each
                trained part.

        Raises:
            RetuneError: If a text cannot be encoded, or with tokens that the model does
                not have.
        """
        sequences: list[TokenSequence] = []
        of_texts = iter(spans)
        for batch in batches_of(texts):
            encodings = self._encoded(batch)
            encoded = EncodedTexts.of(encodings)
            if self._ids:
                encoded = encoded.replaced(self._ids)
            check_known(encoded.ids, self._vocab_size, self._name_of, self._path)
            sequences += map(mark_trained, encoded.split(), encodings, of_texts)
        return sequences

    def _encoded(self, texts: list[str]) -> list[Encoding]:
        try:
            return self._encoder.encode_batch(texts, add_special_tokens=False)
        except Exception as error:  # `tokenizers` raises no narrower type.
            raise RetuneError(
                f"{self._path} cannot encode every text: {error}"
            ) from error


def with_aliases(content: dict[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return a tokenizer.json whose added tokens have other names in a text."""
    added = [
        {**token, "content": aliases.get(token["content"], token["content"])}
        for token in content["added_tokens"]
    ]
    return {**content, "added_tokens": added}


def mark_trained(
    ids: np.ndarray, encoding: Encoding, spans: Collection[Span]
) -> TokenSequence:
    """Return the tokens of a text, of which those within some spans are trained.

    A token that lies over the border of a span is not trained, and counted.

    Args:
        ids: The tokens, int32 [tokens].
        encoding: What knows the characters of each token. These ascend, so that they
            are looked up at the borders alone.
        spans: First character and the one after the last of each trained part.
    """
    tokens = range(len(ids))
    begin_of, end_of = (partial(border_of, encoding, which) for which in (0, 1))
    trained = np.zeros(len(ids), bool)
    straddling = 0
    for start, end in spans:
        first, after = (
            bisect_left(tokens, start, key=begin_of),
            bisect_right(tokens, end, key=end_of),
        )
        trained[first:after] = True
        touching = range(
            bisect_right(tokens, start, key=end_of),
            bisect_left(tokens, end, key=begin_of),
        )
        inside = range(max(first, touching.start), min(after, touching.stop))
        straddling += len(touching) - len(inside)
    trained[:1] = False
    return TokenSequence(ids, trained, straddling)


def border_of(encoding: Encoding, which: int, token: int) -> int:
    """Return a token's first character (0), or the one after its last (1)."""
    characters = encoding.token_to_chars(token)
    assert characters is not None
    return characters[which]
