"""Rows of an Arrow table: texts, or values of any depth that make up examples."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from retune.examples.arrow_values import converter, message_converter
from retune.examples.groups import wrong_group_type
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row, SourceFile

ROWS_PER_BATCH = 1000


def rows_of(
    reader: RowReader, table: pa.Table, file: SourceFile, first: int
) -> Iterator[Row]:
    """Yield the rows of an Arrow table, whose columns the reader has checked.

    Args:
        reader: Makes the rows.
        table: Some consecutive rows of the file.
        file: The file that the rows come from.
        first: Number of the table's first row in the file, for messages.

    Raises:
        RetuneError: If a value is not as the format of the rows has it.
    """
    group = reader.settings.group_column
    groups = group_names(table, group, file, first) if group else [None] * len(table)
    columns = {}
    for key, name in reader.columns.items():
        if name not in table.schema.names:
            continue
        column = table.column(name)
        convert = (converter if key == "tools" else message_converter)(column.type)
        columns[name] = map(convert, values_of(column, name, file, first))
    rows = zip(groups, zip(*columns.values(), strict=True), strict=True)
    for number, (group_name, values) in enumerate(rows, first):
        named = dict(zip(columns, values, strict=True))
        yield reader.row(named, group_name, file, f"row {number}")


def group_names(
    table: pa.Table, column: str, file: SourceFile, first: int
) -> list[str | None]:
    """Return the name of each row's group; None where it has none.

    Raises:
        RetuneError: If the values cannot name groups.
    """
    group = table.column(column)
    if pa.types.is_nested(group.type) or is_binary(group.type):
        raise wrong_group_type(column, str(group.type), file.name)
    return values_of(group.cast(pa.string()), column, file, first)


def values_of(
    column: pa.ChunkedArray, name: str, file: SourceFile, first: int
) -> list[Any]:
    """Return the values of a column.

    Raises:
        RetuneError: If the bytes of a text are not UTF-8.
    """
    try:
        return column.to_pylist(maps_as_pydicts="strict")
    except UnicodeDecodeError:
        row = next(n for n, value in enumerate(column, first) if not is_readable(value))
        raise file.problem(
            f"holds bytes in {name!r} that are not UTF-8", f"row {row}"
        ) from None


def is_readable(value: pa.Scalar) -> bool:
    """Return whether the bytes of a text are UTF-8."""
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds bytes that need not be text."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
