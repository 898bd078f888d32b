"""Lines of a text file: UTF-8, compressed or not, and without NUL bytes."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from typing import IO, Any

from retune.sources.rows import SourceFile

# How a file begins that is compressed.
COMPRESSED: dict[bytes, Callable[..., IO[Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
# How a file begins that some editors and spreadsheets write.
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(file: SourceFile, newline: str | None = None) -> Iterator[str]:
    """Yield the lines of a file, a mark of the byte order left out.

    Args:
        file: The file.
        newline: As Python's `open` has it: None makes the ends of all lines alike, an
            empty text leaves them as they are, a line feed is the only end there is.

    Raises:
        RetuneError: If a line is not UTF-8 or holds a NUL byte.
    """
    with opener(file)(file.path, "rt", encoding="utf-8-sig", newline=newline) as stream:
        lines = enumerate(stream, start=1)
        while True:
            try:
                number, line = next(lines)
            except StopIteration:
                return
            except UnicodeDecodeError:
                raise encoding_problem(file) from None
            if "\0" in line:
                raise file.problem(
                    "holds a NUL byte: the file is damaged, or is not UTF-8",
                    f"line {number}",
                )
            yield line


def opener(file: SourceFile) -> Callable[..., IO[Any]]:
    """Return what opens a file, by how it begins."""
    with file.path.open("rb") as stream:
        start = stream.read(6)
    return next(
        (open_ for mark, open_ in COMPRESSED.items() if start.startswith(mark)), open
    )


def encoding_problem(file: SourceFile) -> Exception:
    """Return an error that names the first line that is not UTF-8."""
    with opener(file)(file.path, "rb") as stream:
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
