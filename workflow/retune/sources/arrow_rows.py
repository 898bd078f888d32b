"""Rows of Arrow tables and of parquet files."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retune.settings import DatasetSettings
from retune.sources.columns import check_columns, wrong_group_type, wrong_type
from retune.sources.compressed import opened_at_any_place
from retune.sources.rows import Row, SourceFile

ROWS_PER_BATCH = 1000


def read_parquet(settings: DatasetSettings, file: SourceFile) -> Iterator[Row]:
    """Yield the rows of a parquet file, in memory that its size does not raise."""
    # By default all of a file that has been read stays in memory.
    with (
        opened_at_any_place(file.path) as stream,
        pq.ParquetFile(stream, pre_buffer=False) as parquet,
    ):
        check_columns(settings, parquet.schema_arrow.names, file)
        columns = [settings.text_column, *filter(None, [settings.group_column])]
        first = 1
        for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=columns):
            yield from rows_of(settings, pa.Table.from_batches([batch]), file, first)
            first += len(batch)


def rows_of(
    settings: DatasetSettings, table: pa.Table, file: SourceFile, first: int
) -> Iterator[Row]:
    """Yield the rows of an Arrow table, whose first is row `first` of the file."""
    text = table.column(settings.text_column)
    if not (pa.types.is_null(text.type) or is_text(text.type)):
        raise wrong_type(settings, str(text.type), file)
    texts = values_of(text, settings.text_column, file, first)
    groups: Iterable[str | None] = [None] * len(table)
    if column := settings.group_column:
        group = table.column(column)
        if pa.types.is_nested(group.type) or is_binary(group.type):
            raise wrong_group_type(column, str(group.type), file.name)
        groups = values_of(group.cast(pa.string()), column, file, first)
    yield from map(Row, texts, groups)


def values_of(
    column: pa.ChunkedArray, name: str, file: SourceFile, first: int
) -> list[Any]:
    """Return a column's values; the bytes of a text must be UTF-8."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        row = next(n for n, value in enumerate(column, first) if not is_readable(value))
        raise file.problem(
            f"holds bytes in {name!r} that are not UTF-8", f"row {row}"
        ) from None


def is_readable(value: pa.Scalar) -> bool:
    """Return whether a value's bytes are what its type says."""
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
    )


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds bytes that are no text."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
