"""A row of a dataset as a reader yields it, and the file that it comes from.

A row that could be read in two ways, or only in part, is an error that names the file
and the place in it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retune.errors import RetuneError


class Row(NamedTuple):
    """One row of a dataset.

    Attributes:
        content: The text, or the example as one line of JSON; None if a text is null.
        group: Value of the group column; None if it is missing or none is set.
    """

    content: str | None
    group: str | None


@dataclass(frozen=True)
class SourceFile:
    """A file of the dataset.

    Attributes:
        path: Path of the file on this machine.
        name: Name of the file in messages for the user.
        setting: Key in the section `dataset` of params.yaml that names the file.
    """

    path: Path
    name: str
    setting: str = "files"

    def problem(self, text: str, place: str = "") -> RetuneError:
        """Return an error about this file, or about a place in it."""
        where = f"{self.name}, {place}" if place else self.name
        return RetuneError(f"dataset.{self.setting}: {where} {text}")


def check_text(value: str, column: str, file: SourceFile, place: str) -> str:
    """Return a text if UTF-8 can express it.

    JSON may spell one half of a surrogate pair, which is no character.

    Raises:
        RetuneError: If the text holds half of a surrogate pair.
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
