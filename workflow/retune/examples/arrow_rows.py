"""Text and group of the rows of an Arrow table."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from retune.examples.columns import wrong_group_type, wrong_type
from retune.examples.rows import Row, SourceFile
from retune.settings import DatasetSettings

ROWS_PER_BATCH = 1000


def rows_of(
    settings: DatasetSettings, table: pa.Table, file: SourceFile, first: int
) -> Iterator[Row]:
    """Yield the rows of an Arrow table.

    Args:
        settings: The section `dataset`.
        table: Some consecutive rows of the file.
        file: The file that the rows come from.
        first: Number of the table's first row in the file, for messages.

    Raises:
        RetuneError: If a column is not of the type that it needs.
    """
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
) -> list[str | None]:
    """Return the values of a column of texts.

    Raises:
        RetuneError: If the bytes of a value are not UTF-8.
    """
    try:
        return column.to_pylist()
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
    """Return whether a column of this type holds bytes that need not be text."""
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
