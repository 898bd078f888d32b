"""Reading the rows of a local file, by the ending of its name."""

import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path

import pyarrow as pa

from retune.examples.rows import Row, SourceFile
from retune.settings import DatasetSettings
from retune.settings.text_formats import format_of
from retune.sources.json_rows import read_json
from retune.sources.parquet_rows import read_parquet
from retune.sources.text_rows import read_csv, read_txt, read_whole_txt

Reader = Callable[[DatasetSettings, SourceFile], Iterator[Row]]

READERS: dict[str, Reader] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".txt": read_txt,
}
# The exceptions that come of reading a damaged file.
UNREADABLE = (
    pa.ArrowException,
    UnicodeError,
    OSError,
    EOFError,
    zlib.error,
    LZMAError,
)


def read_file(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield the rows of a file, a little at a time."""
    file = SourceFile(path, str(path))
    reader = READERS[format_of(path) or ""]
    if reader is read_txt and not settings.document_start:
        reader = {"file": read_whole_txt, "line": read_txt}[settings.txt_documents]
    return read_rows(reader, settings, file)


def read_rows(
    reader: Reader, settings: DatasetSettings, file: SourceFile
) -> Iterator[Row]:
    """Yield the rows of a file.

    Raises:
        RetuneError: Naming the file, if it is damaged.
    """
    try:
        yield from reader(settings, file)
    except UNREADABLE as error:
        raise file.problem(f"cannot be read: {error}") from error
