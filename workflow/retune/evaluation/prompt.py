"""A prompt: what a model sees before it writes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """What a model sees before it writes.

    Attributes:
        text: What people see of it.
        ids: Its tokens, with those that begin a document.
        reference: Answer that the data has; None if it has none.
    """

    text: str
    ids: Sequence[int]
    reference: str | None = None
