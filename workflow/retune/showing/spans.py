"""A part of a row as spans of text: in each, all tokens are alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from retune.tokens.tokenizer import ModelTokenizer


@dataclass(frozen=True)
class Span:
    """Neighbouring tokens that are alike.

    Attributes:
        is_counted: Whether the loss counts them.
        is_special: Whether it is one special token.
        text: The text; of a special token, its name.
        end: Place after the last token.
    """

    is_counted: bool
    is_special: bool
    text: str
    end: int


def spans_of(
    ids: np.ndarray, counted: np.ndarray, tokenizer: ModelTokenizer
) -> Iterator[Span]:
    """Yield the spans of tokens; each is as long as can be.

    So a character of several tokens stays whole. Where a border divides one, there is
    the replacement character on both sides instead.

    Args:
        ids: The tokens, [tokens].
        counted: Which of them the loss counts, bool [tokens].
        tokenizer: The tokenizer that made them.
    """
    tokens = ids.tolist()
    is_special = [tokenizer.is_special(token) for token in tokens]
    for start, end in pairwise(borders_of(counted, is_special)):
        if is_special[start]:
            text = tokenizer.name_of(tokens[start])
        else:
            text = tokenizer.decode_within(tokens[start:end])
        yield Span(bool(counted[start]), is_special[start], text, end)


def borders_of(counted: np.ndarray, is_special: list[bool]) -> list[int]:
    """Return the places at which a span begins, and the number of tokens.

    Args:
        counted: Which tokens the loss counts, bool [tokens].
        is_special: Which tokens are special.
    """
    changes = np.flatnonzero(counted[1:] != counted[:-1]) + 1
    borders = {0, len(is_special), *changes.tolist()}
    for place in np.flatnonzero(is_special).tolist():
        borders |= {place, place + 1}
    return sorted(borders)
