"""Checks of the columns that are read: each is there, once."""

from retune.errors import RetuneError
from retune.examples.row_format import RowFormat, setting_of
from retune.settings import SourceSettings


def missing_group(
    settings: SourceSettings, columns: list[str], where: str
) -> list[str]:
    """Return the problem that there is no column of groups; none if it is there."""
    column = settings.group_column
    if column is None or column in columns:
        return []
    there = ", ".join(columns) or "none"
    return [
        f"dataset.group_column: {where} has no column {column!r}; there are: {there}"
    ]


def check_repeated(
    settings: SourceSettings, row_format: RowFormat, columns: list[str], where: str
) -> None:
    """Raise RetuneError if a column that is read is there more than once.

    Other columns may repeat.
    """
    if len({*columns}) == len(columns):
        return
    problems = [
        f"{key}: {where} has {columns.count(column)} columns {column!r}, and"
        " which of them is meant is not known: rename the others"
        for key, column in named_columns(settings, row_format)
        if columns.count(column) > 1
    ]
    if problems:
        raise RetuneError("\n".join(problems))


def named_columns(
    settings: SourceSettings, row_format: RowFormat
) -> list[tuple[str, str]]:
    """Return each column that is read, with the key of params.yaml that names it."""
    columns = [
        (setting_of(key, settings, row_format), column)
        for key, column in row_format.columns.items()
    ]
    group = settings.group_column
    return [*columns, *([("dataset.group_column", group)] if group else [])]
