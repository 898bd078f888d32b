"""Reading the rows of a local file, by the ending of its name."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from lzma import LZMAError
from pathlib import Path

import pyarrow as pa

from retune.examples.row_reader import RowReader
from retune.examples.rows import Row, SourceFile
from retune.settings.text_formats import format_of
from retune.sources.json_rows import read_json
from retune.sources.parquet_rows import read_parquet
from retune.sources.text_rows import read_csv, read_txt, read_whole_txt

FileReader = Callable[[RowReader, SourceFile], Iterator[Row]]

READERS: dict[str, FileReader] = {
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
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


def read_file(reader: RowReader, path: Path) -> Iterator[Row]:
    """Yield the rows of a file, a little at a time."""
    file = SourceFile(path, str(path))
    read = READERS[format_of(path) or ""]
    settings = reader.settings
    if read is read_txt and not settings.document_start:
        read = {"file": read_whole_txt, "line": read_txt}[settings.txt_documents]
    return read_rows(read, reader, file)


def read_rows(read: FileReader, reader: RowReader, file: SourceFile) -> Iterator[Row]:
    """Yield the rows of a file.

    Raises:
        RetuneError: Naming the file, if it is damaged.
    """
    try:
        yield from read(reader, file)
    except UNREADABLE as error:
        raise file.problem(f"cannot be read: {error}") from error
