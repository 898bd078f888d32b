"""Rows of JSON: an object per line, or an array of objects, read a little at a time."""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from retune.errors import RetuneError
from retune.settings import DatasetSettings
from retune.sources.columns import (
    check_columns,
    check_repeated,
    wrong_group_type,
    wrong_type,
)
from retune.sources.rows import Row, SourceFile, check_text
from retune.sources.text_lines import opened_text, read_lines

# What JSON calls the types that Python's parser makes of it.
JSON_TYPES = {"Pairs": "object", "list": "array", "bool": "boolean"}
CHARACTERS_AT_ONCE = 2**20
LONGEST_WORD = 16  # `-Infinity`, or an escaped pair of surrogates, and some room
BLANKS = re.compile(r"[ \t\n\r]*")


class Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, also where a key occurs twice."""


DECODER = json.JSONDecoder(object_pairs_hook=Pairs)


def read_json(settings: DatasetSettings, file: SourceFile) -> Iterator[Row]:
    """Yield a row per object, of an array or of lines.

    A key that the first object has and another one lacks is null there.
    """
    read = objects_of_array if is_array(file) else objects_of_lines
    for number, (line, record) in enumerate(read(file)):
        where = f"{file.name}, line {line}"
        names = [name for name, _ in record]
        values = dict(record)
        if number == 0:
            check_columns(settings, names, file, where)
        elif len(values) < len(names):
            check_repeated(settings, names, where)
        yield row_of(settings, values, file, f"line {line}")


def is_array(file: SourceFile) -> bool:
    """Return whether the first character that is not blank begins an array."""
    with opened_text(file) as stream:
        return Window(stream).next_character() == "["


def objects_of_lines(file: SourceFile) -> Iterator[tuple[int, Pairs]]:
    """Yield the object of each line and the line's number; blank lines hold none."""
    for number, line in enumerate(read_lines(file, newline="\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            record = json.loads(line, object_pairs_hook=Pairs)
        except json.JSONDecodeError as error:
            is_cut_off = error.pos >= len(line.rstrip())
            hint = (
                "(each object needs a line, or all an array)"
                if is_cut_off
                else f"at column {error.pos + 1}"
            )
            raise file.problem(f"is not JSON: {error.msg} {hint}", place) from None
        except (ValueError, RecursionError) as error:
            raise unreadable(error, file, place) from None
        yield number, checked_object(record, file, place)


def unreadable(
    error: ValueError | RecursionError, file: SourceFile, place: str
) -> RetuneError:
    """Return what to tell of JSON that Python's parser cannot read."""
    if isinstance(error, RecursionError):
        return file.problem("is nested too deeply", place)
    return file.problem(f"is not JSON: {error}", place)  # a number of too many digits


def objects_of_array(file: SourceFile) -> Iterator[tuple[int, Pairs]]:
    """Yield the objects of an array, and the line that each begins in."""
    with opened_text(file, newline="\n") as stream:
        window = Window(stream)
        window.next_character()
        window.skip()
        if window.next_character() == "]":
            return
        while True:
            number = window.line
            place = f"line {number}"
            try:
                record = window.take_value()
            except json.JSONDecodeError as error:
                place = f"line {window.line_of(error)}"
                raise file.problem(f"is not JSON: {error.msg}", place) from None
            except (ValueError, RecursionError) as error:
                raise unreadable(error, file, place) from None
            yield number, checked_object(record, file, place)
            mark = window.next_character()
            place = f"line {window.line}"
            if mark == "]":
                break
            if mark != ",":
                found = f"{mark!r}" if mark else "the end of the file"
                raise file.problem(
                    f"is not JSON: {found} where ',' or ']' should be", place
                )
            comma_line = window.line
            window.skip()
            if window.next_character() == "]":
                raise file.problem(
                    "is not JSON: a comma before the closing ]", f"line {comma_line}"
                )
        window.skip()
        if window.next_character():
            raise file.problem("goes on after its array", f"line {window.line}")


def checked_object(record: Any, file: SourceFile, place: str) -> Pairs:
    """Return what was read, or raise if it is no object."""
    if not isinstance(record, Pairs):
        raise file.problem("is not a JSON object", place)
    return record


class Window:
    """The part of a JSON text that has been read and not been taken yet.

    Attributes:
        line: The number of its first line.
    """

    def __init__(self, stream: TextIO) -> None:
        """Begin at the start of a stream."""
        self.line = 1
        self._stream = stream
        self._text = ""
        self._at = 0

    def next_character(self) -> str:
        """Skip blanks and return the character that follows; empty at the end."""
        while True:
            self._skip_to(next(BLANKS.finditer(self._text, self._at)).end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def skip(self) -> None:
        """Skip one character."""
        self._skip_to(self._at + 1)

    def take_value(self) -> Any:
        """Return the value that begins here, and skip it.

        Raises:
            ValueError: If it is not JSON.
        """
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not (self._may_be_cut_off(error) and self._read_on()):
                    raise
            else:
                self._skip_to(end)
                return value

    def line_of(self, error: json.JSONDecodeError) -> int:
        """Return the line of the whole text in which a value ceased to be JSON."""
        return self.line + self._text.count("\n", self._at, error.pos)

    def _may_be_cut_off(self, error: json.JSONDecodeError) -> bool:
        """Return whether an error may come of what has not been read yet."""
        is_near_end = error.pos > len(self._text) - LONGEST_WORD
        return is_near_end or error.msg.startswith("Unterminated string")

    def _read_on(self) -> bool:
        """Read at least as much as is there, and return whether anything came."""
        rest = self._text[self._at :]
        read = self._stream.read(max(CHARACTERS_AT_ONCE, len(rest)))
        self._text, self._at = rest + read, 0
        return bool(read)

    def _skip_to(self, position: int) -> None:
        self.line += self._text.count("\n", self._at, position)
        self._at = position


def row_of(
    settings: DatasetSettings, record: dict[str, Any], file: SourceFile, place: str
) -> Row:
    """Return text and group of a JSON object."""
    where = f"{file.name}, {place}"
    text, group = record.get(settings.text_column), None
    if not isinstance(text, str | None):
        raise wrong_type(settings, json_type(text), file, where)
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
