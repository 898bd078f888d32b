"""Rows of a source: their text and group, as they were written or not at all.

A row that could be read in two ways, or only in part, is an error that names the file
and the place in it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retune.errors import RetuneError
from retune.settings import DatasetSettings


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


def check_columns(settings: DatasetSettings, columns: list[str], where: str) -> None:
    """Raise unless each column of the settings is there, and only once."""
    check_repeated(settings, columns, where)
    problems = [
        f"dataset.{key}: {where} has no column {column!r}; there are:"
        f" {', '.join(columns) or 'none'}"
        for key, column in named_columns(settings)
        if column not in columns
    ]
    if problems:
        raise RetuneError("\n".join(problems))


def check_repeated(settings: DatasetSettings, columns: list[str], where: str) -> None:
    """Raise if a column of the settings is there more than once.

    Others are not read, so it does not matter what they are called.
    """
    problems = [
        f"dataset.{key}: {where} has {columns.count(column)} columns {column!r}, and"
        " which of them is meant is not known: rename the others"
        for key, column in named_columns(settings)
        if columns.count(column) > 1
    ]
    if problems:
        raise RetuneError("\n".join(problems))


def named_columns(settings: DatasetSettings) -> list[tuple[str, str]]:
    """Return the settings that name a column, and which."""
    columns = {
        "text_column": settings.text_column,
        "group_column": settings.group_column,
    }
    return [(key, column) for key, column in columns.items() if column is not None]


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


def wrong_type(column: str, kind: str, where: str) -> RetuneError:
    """Return the error for a text column of another type."""
    return RetuneError(
        f"dataset.text_column: {column!r} of {where} is {kind}, should be text"
    )


def wrong_group_type(column: str, kind: str, where: str) -> RetuneError:
    """Return the error for a group column whose values are no names."""
    return RetuneError(
        f"dataset.group_column: {column!r} of {where} is {kind}, should be text or a"
        " number"
    )
