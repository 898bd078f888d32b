"""Files that may be compressed, which their first bytes say and not their names."""

import bz2
import gzip
import lzma
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa


def open_zstd(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file of zstd as `gzip.open` opens one of gzip."""
    stream = BufferedReader(pa.CompressedInputStream(str(path), "zstd"))
    return TextIOWrapper(stream, **options) if "t" in mode else stream


# How a file begins that is compressed.
COMPRESSED: dict[bytes, Callable[..., IO[Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": open_zstd,
}


def opener(path: Path) -> Callable[..., IO[Any]]:
    """Return what opens a file, by how it begins."""
    with path.open("rb") as stream:
        start = stream.read(6)
    return next(
        (open_ for mark, open_ in COMPRESSED.items() if start.startswith(mark)), open
    )


@contextmanager
def opened_at_any_place(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read here and there; a compressed one is unpacked on the disk."""
    with opener(path)(path, "rb") as stream:
        if opener(path) is open:
            yield stream
            return
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(stream, unpacked)
            unpacked.seek(0)
            yield unpacked
