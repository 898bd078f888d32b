"""Local files as a source: jsonl, parquet, csv and txt."""

import zlib
from collections.abc import Callable, Iterator
from glob import glob
from lzma import LZMAError
from pathlib import Path

import pyarrow as pa

from retune.errors import RetuneError
from retune.settings import SPLITS, TEXT_FORMATS, DatasetSettings
from retune.sources.arrow_rows import read_parquet
from retune.sources.rows import Row, SourceFile
from retune.sources.text_rows import read_csv, read_jsonl, read_txt
from retune.sources.user_paths import user_path

Reader = Callable[[DatasetSettings, SourceFile], Iterator[Row]]

READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".csv": read_csv,
    ".txt": read_txt,
}
# What reading a damaged file raises.
UNREADABLE = (
    pa.ArrowException,
    UnicodeError,
    OSError,
    EOFError,
    zlib.error,
    LZMAError,
)


def find_files(settings: DatasetSettings) -> dict[str, list[Path]]:
    """Return the files of each split, those of a glob sorted by name."""
    found: dict[str, list[Path]] = {}
    problems = []
    for split in SPLITS:
        for pattern in (settings.files or {}).get(split, []):
            files = files_of(pattern)
            if not files:
                problems.append(f"dataset.files.{split}: no file matches {pattern}")
            problems += [
                f"dataset.files.{split}: {file} should end in {', '.join(TEXT_FORMATS)}"
                for file in files
                if file.suffix not in TEXT_FORMATS
            ]
            found.setdefault(split, []).extend(files)
    if problems:
        raise RetuneError("\n".join(problems))
    return {split: list(dict.fromkeys(files)) for split, files in found.items()}


def files_of(pattern: str) -> list[Path]:
    """Return the file of this very name, or else the files that match it as a glob."""
    path = user_path(pattern)
    if path.is_file():
        return [path]
    matches = (Path(match) for match in sorted(glob(str(path), recursive=True)))
    return [match for match in matches if match.is_file()]


def read_file(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield the rows of a file, a little at a time."""
    file = SourceFile(path, str(path))
    return read_rows(READERS[path.suffix], settings, file)


def read_rows(
    reader: Reader, settings: DatasetSettings, file: SourceFile
) -> Iterator[Row]:
    """Yield the rows of a file; what it raises for a damaged one names the file."""
    try:
        yield from reader(settings, file)
    except UNREADABLE as error:
        raise file.problem(f"cannot be read: {error}") from error
