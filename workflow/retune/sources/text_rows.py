"""Rows of CSV and txt files."""

import csv
import sys
from collections.abc import Iterator

from retune.examples.row_reader import RowReader
from retune.examples.rows import Row, SourceFile
from retune.quantities import counted
from retune.sources.text_lines import read_lines, read_whole


def read_csv(
    reader: RowReader, file: SourceFile, delimiter: str = ","
) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header; an empty field is empty text.

    Blank lines hold no row.

    Raises:
        RetuneError: If a row has fewer or more fields than the header, since it is then
            not known which field is in which column.
    """
    records = read_records(file, delimiter)
    _, header = next(records, (1, []))
    reader.check_columns(header, file)
    group = reader.settings.group_column
    for line, fields in records:
        if len(fields) != len(header):
            raise file.problem(
                f"has {counted(len(fields), 'field')}, the header {len(header)}: a"
                f" field that holds {delimiter!r} or a line break needs quotes around"
                " it",
                f"line {line}",
            )
        values = dict(zip(header, fields, strict=True))
        yield reader.row(values, values[group] if group else None, file, f"line {line}")


def read_records(file: SourceFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line of the file that each record begins in, and its fields."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(read_lines(file, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise file.problem(
                f"has quotes that do not match: {error}, in line {reader.line_num}",
                f"row of line {line}",
            ) from None
        if fields:
            yield line, fields


def read_txt(reader: RowReader, file: SourceFile) -> Iterator[Row]:
    """Yield a row per line, without its line break, as `text` of `datasets` does.

    A blank line is a row, too, because `document_start` joins rows as lines.
    """
    reader.check_columns(["text"], file)
    for line in read_lines(file):
        yield Row(line.removesuffix("\n"), None)


def read_whole_txt(reader: RowReader, file: SourceFile) -> Iterator[Row]:
    """Yield the whole text of a file as one row, with its line breaks."""
    reader.check_columns(["text"], file)
    yield Row(read_whole(file), None)
