"""The text of a file: UTF-8, compressed or not, line by line or whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from retune.errors import RetuneError
from retune.examples.rows import SourceFile
from retune.settings.encodings import UTF_16
from retune.sources.compressed import open_bytes, open_text

# Limit of one text: a column of strings in Arrow holds 2**31 bytes.
MOST_CHARACTERS = 2**30


@contextmanager
def opened_text(
    file: SourceFile, newline: str | None = None
) -> Iterator[TextIOWrapper]:
    """Open the text of a file, without the byte order mark that may begin it.

    Args:
        file: The file.
        newline: Which line ends count, as for Python's `open`: with None all ends of
            lines become a line feed; with an empty text they stay as they are; with a
            line feed there is no other end of a line.

    Raises:
        RetuneError: If what is read is not UTF-8.
    """
    with open_text(file.path, "utf-8-sig", newline) as stream:
        try:
            yield stream
        except UnicodeDecodeError:
            raise encoding_problem(file) from None


def read_lines(file: SourceFile, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file.

    Args:
        file: The file.
        newline: Which line ends count, as for Python's `open`.

    Raises:
        RetuneError: If a line is not UTF-8 or holds a NUL byte.
    """
    with opened_text(file, newline) as stream:
        for number, line in enumerate(stream, start=1):
            if "\0" in line:
                raise nul_problem(file, number)
            yield line


def read_whole(file: SourceFile) -> str:
    """Return the whole text of a file; all ends of lines become a line feed.

    Raises:
        RetuneError: If the text is not UTF-8, holds a NUL byte or is too long.
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


def nul_problem(file: SourceFile, line: int) -> RetuneError:
    """Return the error that a line holds a NUL byte."""
    return file.problem(
        "holds a NUL byte: the file is damaged, or is not UTF-8", f"line {line}"
    )


def encoding_problem(file: SourceFile) -> RetuneError:
    """Return an error that names the first line that is not UTF-8."""
    with open_bytes(file.path) as stream:
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
