"""Checks of the columns that the settings name: each is there, once, with text."""

from retune.errors import RetuneError
from retune.examples.conversations import conversion_hint
from retune.examples.rows import SourceFile
from retune.settings import DatasetSettings


def check_columns(
    settings: DatasetSettings, columns: list[str], file: SourceFile, where: str = ""
) -> None:
    """Raise unless each column that the settings name is there exactly once.

    Args:
        settings: The section `dataset`.
        columns: Names of all columns in the file.
        file: The file that has the columns.
        where: Name of the place in messages; empty for the name of the file.

    Raises:
        RetuneError: Naming every column that is missing or repeated.
    """
    where = where or file.name
    check_repeated(settings, columns, where)
    problems = [
        f"dataset.{key}: {where} has no column {column!r}; there are:"
        f" {', '.join(columns) or 'none'}"
        for key, column in named_columns(settings)
        if column not in columns
    ]
    if problems and settings.text_column not in columns:
        problems += filter(None, [conversion_hint(settings, columns, file)])
    if problems:
        raise RetuneError("\n".join(problems))


def check_repeated(settings: DatasetSettings, columns: list[str], where: str) -> None:
    """Raise RetuneError if a column that the settings name is there more than once.

    Other columns are not read, so they may repeat.
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
    """Return each setting that names a column, with that name."""
    columns = {
        "text_column": settings.text_column,
        "group_column": settings.group_column,
    }
    return [(key, column) for key, column in columns.items() if column is not None]


def wrong_type(
    settings: DatasetSettings, kind: str, file: SourceFile, where: str = ""
) -> RetuneError:
    """Return the error for a text column whose values are no texts.

    Args:
        settings: The section `dataset`.
        kind: Type of the values, as the file's format calls it.
        file: The file that has the column.
        where: Name of the place in messages; empty for the name of the file.
    """
    column = settings.text_column
    problem = (
        f"dataset.text_column: {column!r} of {where or file.name} is {kind}, should be"
        " text"
    )
    hint = conversion_hint(settings, [column], file)
    return RetuneError("\n".join(filter(None, [problem, hint])))


def wrong_group_type(column: str, kind: str, where: str) -> RetuneError:
    """Return the error for a group column whose values cannot name a group."""
    return RetuneError(
        f"dataset.group_column: {column!r} of {where} is {kind}, should be text or a"
        " number"
    )
