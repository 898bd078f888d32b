"""Opening files that may be compressed, which their first bytes say.

The name of a file does not matter here: a file may be compressed without saying so.
"""

import bz2
import gzip
import lzma
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile

import pyarrow as pa

# Opens a compressed file to read its content.
Opener = Callable[
    [Path], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | pa.CompressedInputStream
]


def open_zstd(path: Path) -> pa.CompressedInputStream:
    """Open a file that zstd has compressed, to read its content."""
    return pa.CompressedInputStream(str(path), "zstd")


# What opens a compressed file, by its first bytes.
COMPRESSED: dict[bytes, Opener] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": open_zstd,
}


def opener(path: Path) -> Opener | None:
    """Return what opens a compressed file; None if the file is not compressed."""
    with path.open("rb") as stream:
        start = stream.read(6)
    return next(
        (
            open_content
            for first_bytes, open_content in COMPRESSED.items()
            if start.startswith(first_bytes)
        ),
        None,
    )


def open_bytes(path: Path) -> BufferedReader:
    """Open a file, compressed or not, to read the bytes of its content."""
    open_content = opener(path)
    return BufferedReader(open_content(path)) if open_content else path.open("rb")


def open_text(path: Path, encoding: str, newline: str | None) -> TextIOWrapper:
    """Open a file, compressed or not, to read its content as text."""
    return TextIOWrapper(open_bytes(path), encoding=encoding, newline=newline)


@contextmanager
def opened_seekable(path: Path) -> Iterator[BufferedReader | BufferedRandom]:
    """Open a file to read at any place; a compressed one is unpacked on the disk."""
    with open_bytes(path) as stream:
        if opener(path) is None:
            yield stream
            return
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(stream, unpacked)
            unpacked.seek(0)
            yield unpacked
