"""Rows of text files: jsonl, csv and txt, read a little at a time."""

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any

from retune.settings import DatasetSettings
from retune.sources.rows import (
    Row,
    SourceFile,
    check_columns,
    check_repeated,
    check_text,
    wrong_group_type,
    wrong_type,
)
from retune.sources.text_lines import read_lines

# What JSON calls the types that Python's parser makes of it.
JSON_TYPES = {"Pairs": "object", "list": "array", "bool": "boolean"}


class Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, also where a key occurs twice."""


def read_jsonl(settings: DatasetSettings, file: SourceFile) -> Iterator[Row]:
    """Yield a row per line of JSON; a key that later lines lack is null there.

    Blank lines hold no row.
    """
    is_first = True
    for number, line in enumerate(read_lines(file, newline="\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        record = parse_object(line, file, place)
        names = [name for name, _ in record]
        values = dict(record)
        if is_first:
            check_columns(settings, names, f"{file.name}, {place}")
            is_first = False
        elif len(values) < len(names):
            check_repeated(settings, names, f"{file.name}, {place}")
        yield row_of(settings, values, file, place)


def parse_object(line: str, file: SourceFile, place: str) -> Pairs:
    """Return the keys and values of a line of JSON."""
    try:
        record = json.loads(line, object_pairs_hook=Pairs)
    except ValueError as error:
        raise file.problem(f"is not JSON: {error}", place) from None
    except RecursionError:
        raise file.problem("is nested too deeply", place) from None
    if not isinstance(record, Pairs):
        raise file.problem("is not a JSON object", place)
    return record


def row_of(
    settings: DatasetSettings, record: dict[str, Any], file: SourceFile, place: str
) -> Row:
    """Return text and group of a JSON object."""
    where = f"{file.name}, {place}"
    text, group = record.get(settings.text_column), None
    if not isinstance(text, str | None):
        raise wrong_type(settings.text_column, json_type(text), where)
    if text:
        check_text(text, settings.text_column, file, place)
    if column := settings.group_column:
        group = record.get(column)
        if isinstance(group, list):
            raise wrong_group_type(column, json_type(group), where)
        if group is not None:
            group = check_text(group_name(group), column, file, place)
    return Row(text, group)


def group_name(value: Any) -> str:
    """Return the name of a group; 1 and 1.0 are one, as they are one number."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


def json_type(value: Any) -> str:
    """Return what JSON calls the type of a value."""
    name = type(value).__name__
    return JSON_TYPES.get(name, name)


def read_csv(
    settings: DatasetSettings, file: SourceFile, delimiter: str = ","
) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header; an empty field is empty text.

    Blank lines hold no row. Every row has as many fields as the header: with fewer or
    more, which field is the text is not known.
    """
    records = read_records(file, delimiter)
    _, header = next(records, (1, []))
    check_columns(settings, header, file.name)
    text = header.index(settings.text_column)
    group = header.index(settings.group_column) if settings.group_column else None
    for line, fields in records:
        if len(fields) != len(header):
            raise file.problem(
                f"has {counted(len(fields), 'field')}, the header {len(header)}: a"
                f" field that holds {delimiter!r} or a line break needs quotes around"
                " it",
                f"line {line}",
            )
        yield Row(fields[text], None if group is None else fields[group])


def read_records(file: SourceFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each record, and the line of the file that it begins in."""
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


def counted(number: int, noun: str) -> str:
    """Return such as `1 field` or `4 fields`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def read_txt(settings: DatasetSettings, file: SourceFile) -> Iterator[Row]:
    """Yield a row per line, without its line break, as Hugging Face `text` does.

    A blank line is a row, too: `document_start` joins rows as lines.
    """
    check_columns(settings, ["text"], f"{file.name} (a text file)")
    for line in read_lines(file):
        yield Row(line.removesuffix("\n"), None)
