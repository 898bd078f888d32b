"""Rows of a source: their text and group, as they were written or not at all.

A row that could be read in two ways, or only in part, is an error that names the file
and the place in it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retune.errors import RetuneError


class Row(NamedTuple):
    """One row of the source."""

    text: str | None
    group: str | None


@dataclass(frozen=True)
class SourceFile:
    """A file of the dataset.

    Attributes:
        path: Where it is.
        name: What a user calls it.
        setting: The key of `params.yaml` that names it.
    """

    path: Path
    name: str
    setting: str = "files"

    def problem(self, text: str, place: str = "") -> RetuneError:
        """Return an error about this file, or about a place in it."""
        where = f"{self.name}, {place}" if place else self.name
        return RetuneError(f"dataset.{self.setting}: {where} {text}")


def check_text(value: str, column: str, file: SourceFile, place: str) -> str:
    """Return a text that can be written as UTF-8, or raise.

    JSON may spell one half of a surrogate pair, which is no character.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise file.problem(
            f"holds half of a surrogate pair, {half!r}, in {column!r}: no text can hold"
            " that; mend the file",
            place,
        ) from None
    return value
