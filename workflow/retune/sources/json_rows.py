"""Rows of JSON files: an object per line, or an array of objects."""

import json
from collections.abc import Iterator

from retune.errors import RetuneError
from retune.examples.groups import group_in
from retune.examples.json_objects import names_in, object_of
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row, SourceFile
from retune.sources.json_window import JsonWindow
from retune.sources.text_lines import opened_text, read_lines


def read_json(reader: RowReader, file: SourceFile) -> Iterator[Row]:
    """Yield a row per object of an array or of lines, a little at a time.

    The first object must have all columns that are needed; a text and a group that a
    later one lacks are null there.
    """
    read = objects_of_array if is_array(file) else objects_of_lines
    checked: list[str] | None = None
    for line, record in read(file):
        place = f"line {line}"
        names = names_in(record)
        if names != checked:
            reader.check_columns(names, file, place, may_lack=checked is not None)
            checked = names
        group = group_in(record, reader.settings.group_column, file, place)
        yield reader.row(record, group, file, place)


def is_array(file: SourceFile) -> bool:
    """Return whether the first character that is not blank begins an array."""
    with opened_text(file) as stream:
        return JsonWindow(stream).next_character() == "["


def objects_of_lines(file: SourceFile) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the number of each line that is not blank, and the object that it holds."""
    for number, line in enumerate(read_lines(file, newline="\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            record = json.loads(line, object_pairs_hook=object_of)
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


def objects_of_array(file: SourceFile) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the number of the line that each object of an array begins in, and it."""
    with opened_text(file, newline="\n") as stream:
        window = JsonWindow(stream)
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
            if not has_another(window, file):
                break
        window.skip()
        if window.next_character():
            raise file.problem("goes on after its array", f"line {window.line}")


def has_another(window: JsonWindow, file: SourceFile) -> bool:
    """Return whether another object follows in the array, and skip the comma before it.

    Raises:
        RetuneError: If neither a comma nor the end of the array follows.
    """
    character = window.next_character()
    if character == "]":
        return False
    line = window.line
    if character != ",":
        found = f"{character!r}" if character else "the end of the file"
        raise file.problem(
            f"is not JSON: {found} where ',' or ']' should be", f"line {line}"
        )
    window.skip()
    if window.next_character() == "]":
        raise file.problem("is not JSON: a comma before the closing ]", f"line {line}")
    return True


def unreadable(
    error: ValueError | RecursionError, file: SourceFile, place: str
) -> RetuneError:
    """Return the error for JSON that Python's parser cannot read.

    A ValueError that is no JSONDecodeError comes of a number with too many digits.
    """
    if isinstance(error, RecursionError):
        return file.problem("is nested too deeply", place)
    return file.problem(f"is not JSON: {error}", place)


def checked_object(record: object, file: SourceFile, place: str) -> dict[str, object]:
    """Return a value of the file if it is an object, or raise RetuneError."""
    if not isinstance(record, dict):
        raise file.problem("is not a JSON object", place)
    return record
