"""Local files as a source: which ones, and how each is read."""

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import glob
from lzma import LZMAError
from pathlib import Path

import pyarrow as pa

from retune.errors import RetuneError
from retune.settings import SPLITS, DatasetSettings, Split
from retune.sources.arrow_rows import read_parquet
from retune.sources.json_rows import read_json
from retune.sources.rows import Row, SourceFile
from retune.sources.text_formats import ALLOWED, format_of
from retune.sources.text_rows import read_csv, read_txt, read_whole_txt
from retune.sources.user_paths import user_path

Reader = Callable[[DatasetSettings, SourceFile], Iterator[Row]]

READERS: dict[str, Reader] = {
    ".jsonl": read_json,
    ".json": read_json,
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


@dataclass(frozen=True)
class LocalFiles:
    """The files that the settings name.

    Attributes:
        splits: Those of each split.
        left_out: Those in a folder of a name that is no text's.
    """

    splits: dict[Split, list[Path]]
    left_out: list[Path]


def find_files(settings: DatasetSettings) -> LocalFiles:
    """Return the files of each split, those of a folder or a glob sorted by name.

    Raises:
        RetuneError: Of all names that stand for no file that can be read.
    """
    splits: dict[Split, list[Path]] = {}
    left_out: list[Path] = []
    problems = []
    for split in SPLITS:
        for name in (settings.files or {}).get(split, []):
            path = user_path(name)
            files = files_below(path) if path.is_dir() else files_of(path)
            texts = [file for file in files if format_of(file)]
            others = [file for file in files if not format_of(file)]
            if path.is_dir() and not texts:
                problems.append(
                    f"dataset.files.{split}: {name} holds no file that ends in"
                    f" {ALLOWED}"
                )
            elif not files:
                problems.append(f"dataset.files.{split}: no file matches {name}")
            elif path.is_dir():
                left_out += others
            else:
                problems += [
                    f"dataset.files.{split}: {file} should end in {ALLOWED}"
                    for file in others
                ]
            splits.setdefault(split, []).extend(texts)
    if problems:
        raise RetuneError("\n".join(problems))
    return LocalFiles(
        {split: list(dict.fromkeys(files)) for split, files in splits.items()},
        list(dict.fromkeys(left_out)),
    )


def files_of(path: Path) -> list[Path]:
    """Return the file of this very name, or else the files that match it as a glob."""
    if path.is_file():
        return [path]
    matches = (Path(match) for match in sorted(glob(str(path), recursive=True)))
    return [match for match in matches if match.is_file()]


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and its folders, but for hidden ones, sorted.

    Links are followed; a folder that several of them lead to is read once.
    """

    def refuse(error: OSError) -> None:
        raise RetuneError(f"dataset.files: {error.filename}: {error.strerror}")

    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names if not name.startswith(".")]
    if broken := sorted(path for path in found if not path.exists()):
        raise RetuneError(f"dataset.files: {broken[0]} is a link to nothing")
    return sorted(path for path in found if path.is_file())


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
    """Yield the rows of a file; what it raises for a damaged one names the file."""
    try:
        yield from reader(settings, file)
    except UNREADABLE as error:
        raise file.problem(f"cannot be read: {error}") from error
