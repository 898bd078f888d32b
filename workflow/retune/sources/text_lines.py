"""Text of a file: UTF-8, compressed or not, by lines, in pieces or whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from retune.sources.compressed import opener
from retune.sources.rows import SourceFile
from retune.text.encodings import UTF_16

MOST_CHARACTERS = 2**30  # of one text: what a column of Arrow holds, and some room


@contextmanager
def opened_text(file: SourceFile, newline: str | None = None) -> Iterator[TextIO]:
    """Open the text of a file, a mark of the byte order left out.

    Args:
        file: The file.
        newline: As Python's `open` has it: None makes the ends of all lines alike, an
            empty text leaves them as they are, a line feed is the only end there is.

    Raises:
        RetuneError: If what is read is not UTF-8.
    """
    open_ = opener(file.path)
    with open_(file.path, "rt", encoding="utf-8-sig", newline=newline) as stream:
        try:
            yield stream
        except UnicodeDecodeError:
            raise encoding_problem(file) from None


def read_lines(file: SourceFile, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file.

    Args:
        file: The file.
        newline: See `opened_text`.

    Raises:
        RetuneError: If a line is not UTF-8 or holds a NUL byte.
    """
    with opened_text(file, newline) as stream:
        for number, line in enumerate(stream, start=1):
            if "\0" in line:
                raise nul_problem(file, number)
            yield line


def read_whole(file: SourceFile) -> str:
    """Return all of a file, the ends of its lines made alike.

    Raises:
        RetuneError: If it is not UTF-8, holds a NUL byte or is too long.
    """
    with opened_text(file) as stream:
        text = stream.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise file.problem(
            f"holds more than {MOST_CHARACTERS:,} characters, too many for one"
            " document: dataset.txt_documents: line makes each line one,"
            " dataset.document_start each part"
        )
    if (end := text.find("\0")) >= 0:
        raise nul_problem(file, text.count("\n", 0, end) + 1)
    return text


def nul_problem(file: SourceFile, line: int) -> Exception:
    """Return the error that a line holds a NUL byte."""
    return file.problem(
        "holds a NUL byte: the file is damaged, or is not UTF-8", f"line {line}"
    )


def encoding_problem(file: SourceFile) -> Exception:
    """Return an error that names the first line that is not UTF-8."""
    with opener(file.path)(file.path, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith(UTF_16):
                return file.problem("is UTF-16, should be UTF-8: convert it")
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return file.problem(
                    f"is not UTF-8 (byte 0x{byte:02x}): convert the file",
                    f"line {number}",
                )
    return file.problem("is not UTF-8: convert it")
