"""The tokens of some texts."""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from retune.errors import RetuneError


@dataclass(frozen=True)
class EncodedTexts:
    """The tokens of some texts, one text after another.

    Attributes:
        ids: The tokens, int32 [tokens].
        sizes: Number of tokens of each text, int64 [texts].
    """

    ids: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, encodings: Iterable[Encoding]) -> "EncodedTexts":
        """Return the tokens of encodings."""
        ids: list[int] = []
        ends: list[int] = []
        for encoding in encodings:
            ids += encoding.ids
            ends.append(len(ids))
        # NumPy takes three times as long to make an array of a list as `array` does.
        tokens = np.frombuffer(array("I", ids), np.int32)
        return cls(tokens, np.diff(np.array(ends, np.int64), prepend=0))

    @classmethod
    def joined(cls, parts: Sequence["EncodedTexts"]) -> "EncodedTexts":
        """Return the texts of several of these, of which there is at least one."""
        ids, sizes = zip(*((part.ids, part.sizes) for part in parts), strict=True)
        return cls(np.concatenate(ids), np.concatenate(sizes))

    def split(self) -> list[np.ndarray]:
        """Return the tokens of each text, int32 [tokens]."""
        return np.split(self.ids, np.cumsum(self.sizes))[:-1]

    def texts_with(self, token: int) -> list[int]:
        """Return the numbers of the texts that have a token, ascending."""
        places = np.flatnonzero(self.ids == token)
        ends = np.cumsum(self.sizes)
        return np.unique(np.searchsorted(ends, places, side="right")).tolist()

    def replaced(self, others: Mapping[int, int]) -> "EncodedTexts":
        """Return the texts with other tokens for some, each by its token."""
        ids = [others.get(token, token) for token in self.ids.tolist()]
        return EncodedTexts(np.array(ids, np.int32), self.sizes)

    def between(self, first: int, last: int) -> "EncodedTexts":
        """Return the texts with a token before each and another one after it."""
        sizes = self.sizes + 2
        ends = np.cumsum(sizes)
        ids = np.empty(len(self.ids) + 2 * len(sizes), self.ids.dtype)
        is_text = np.ones(len(ids), bool)
        is_text[ends - sizes] = is_text[ends - 1] = False
        ids[is_text] = self.ids
        ids[ends - sizes], ids[ends - 1] = first, last
        return EncodedTexts(ids, sizes)


def check_known(
    ids: np.ndarray, vocab_size: int, name_of: Callable[[int], str], path: Path
) -> None:
    """Raise RetuneError if there is a token that the model does not have.

    Args:
        ids: The tokens, int32 [tokens].
        vocab_size: Number of tokens that the model has.
        name_of: Returns the string that a token has in the vocabulary.
        path: File of the tokenizer, for the message.
    """
    largest = int(ids.max(initial=-1))
    if largest >= vocab_size:
        raise RetuneError(
            f"{path} has id {largest} ({name_of(largest)}), but the model's vocab_size"
            f" is {vocab_size}: they do not belong together"
        )
