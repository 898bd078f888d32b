"""The columns that the settings name: each is there, once, and of a type that fits."""

from retune.errors import RetuneError
from retune.settings import DatasetSettings
from retune.sources.conversations import describe_conversations
from retune.sources.rows import SourceFile


def check_columns(
    settings: DatasetSettings, columns: list[str], file: SourceFile, where: str = ""
) -> None:
    """Raise unless each column of the settings is there, and only once.

    Args:
        settings: The section `dataset`.
        columns: The names of those that are there.
        file: The file that they are in.
        where: What a user calls the place, if it is not all of the file.
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
        problems += filter(None, [describe_conversations(settings, columns, file)])
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


def wrong_type(
    settings: DatasetSettings, kind: str, file: SourceFile, where: str = ""
) -> RetuneError:
    """Return the error for a text column of another type.

    Args:
        settings: The section `dataset`.
        kind: The type.
        file: The file that the column is in.
        where: What a user calls the place, if it is not all of the file.
    """
    column = settings.text_column
    problem = (
        f"dataset.text_column: {column!r} of {where or file.name} is {kind}, should be"
        " text"
    )
    hint = describe_conversations(settings, [column], file)
    return RetuneError("\n".join(filter(None, [problem, hint])))


def wrong_group_type(column: str, kind: str, where: str) -> RetuneError:
    """Return the error for a group column whose values are no names."""
    return RetuneError(
        f"dataset.group_column: {column!r} of {where} is {kind}, should be text or a"
        " number"
    )
