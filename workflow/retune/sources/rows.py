"""Rows of a source: their text and group, from columns checked by name and type."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from retune.errors import RetuneError
from retune.settings import DatasetSettings


class Row(NamedTuple):
    """One row of the source."""

    text: str | None
    group: str | None


def parquet_rows(settings: DatasetSettings, path: Path, where: str) -> Iterator[Row]:
    """Yield the rows of a parquet file, in memory that its size does not raise."""
    # By default all of a file that has been read stays in memory.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        check_columns(settings, file.schema_arrow.names, where)
        columns = [settings.text_column, *filter(None, [settings.group_column])]
        for batch in file.iter_batches(1000, columns=columns):
            yield from rows_of(settings, pa.Table.from_batches([batch]), where)


def rows_of(settings: DatasetSettings, table: pa.Table, where: str) -> Iterator[Row]:
    """Yield the rows of an Arrow table."""
    text = table.column(settings.text_column)
    if not (pa.types.is_null(text.type) or is_text(text.type)):
        raise wrong_type(settings.text_column, str(text.type), where)
    groups: Iterable[str | None] = [None] * len(table)
    if settings.group_column:
        groups = table.column(settings.group_column).cast(pa.string()).to_pylist()
    yield from map(Row, text.to_pylist(), groups)


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def check_columns(
    settings: DatasetSettings, columns: Iterable[str], where: str
) -> None:
    """Raise unless the columns of the settings are there."""
    there = list(columns)
    problems = [
        f"dataset.{key}: {where} has no column {column!r}; there are:"
        f" {', '.join(there) or 'none'}"
        for key in ("text_column", "group_column")
        if (column := getattr(settings, key)) is not None and column not in there
    ]
    if problems:
        raise RetuneError("\n".join(problems))


def wrong_type(column: str, kind: str, where: str) -> RetuneError:
    """Return the error for a text column of another type."""
    return RetuneError(
        f"dataset.text_column: {column!r} of {where} is {kind}, should be text"
    )
