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
from retune.publishing import MANIFEST, read_sealed
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
        left_out: Those in a folder that are no texts by their names.
    """

    splits: dict[Split, list[Path]]
    left_out: list[Path]


@dataclass(frozen=True)
class NamedFiles:
    """What one name stands for.

    Attributes:
        texts: The files to read.
        left_out: Those in a folder that are no texts by their names.
        problems: Why the name cannot be read, in words for the user.
    """

    texts: list[Path]
    left_out: list[Path]
    problems: list[str]


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
            found = files_named(name)
            splits.setdefault(split, []).extend(found.texts)
            left_out += found.left_out
            problems += [f"dataset.files.{split}: {what}" for what in found.problems]
    if problems:
        raise RetuneError("\n".join(problems))
    return LocalFiles(
        {split: list(dict.fromkeys(files)) for split, files in splits.items()},
        list(dict.fromkeys(left_out)),
    )


def files_named(name: str) -> NamedFiles:
    """Return the file of this very name, all in a folder of it, or else of a glob.

    A folder that a glob matches counts with all that is below it.
    """
    if not name:
        return NamedFiles([], [], ["an empty text names no file"])
    path = user_path(name)
    matches = [path]
    if not path.exists():
        pattern = f"{path}/" if name.endswith("/") else str(path)
        matched = {Path(match) for match in glob(pattern, recursive=True)}
        places = matched.union(*(match.parents for match in matched))
        made = {place for place in places if is_of_a_step(place)}
        matches = [m for m in matched if made.isdisjoint((m, *m.parents))]
    folders = sorted(match for match in matches if match.is_dir())
    files = {match for match in matches if not match.is_dir()}
    below, problems = files_below(folders)
    found = sorted(files | below)
    broken = [file for file in found if not file.exists()]
    texts = [file for file in found if format_of(file) and file.is_file()]
    others = [file for file in found if not format_of(file)]
    wrong = [file for file in others if file in files and file.is_file()]
    problems += [f"{file} is a link to nothing" for file in broken if format_of(file)]
    problems += [f"{file} should end in {ALLOWED}" for file in wrong]
    if not texts and not problems:
        problems = [
            f"{name} holds no file that ends in {ALLOWED}"
            if folders
            else f"no file matches {name}"
        ]
    return NamedFiles(texts, others, problems)


def files_below(folders: list[Path]) -> tuple[set[Path], list[str]]:
    """Return all that folders and theirs hold, but for hidden files, and what fails.

    Links are followed; a folder that several of them lead to is read once. What steps
    have made below is no data of the user's.
    """
    problems = [
        f"{folder} holds the run itself: give the texts a folder of their own"
        for folder in folders
        if Path.cwd().is_relative_to(folder.resolve())
    ]
    if problems:
        return set(), problems

    def note(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    found: set[Path] = set()
    seen: set[str] = set()
    for folder in folders:
        for place, below, names in os.walk(folder, onerror=note, followlinks=True):
            real = os.path.realpath(place)
            below[:] = sorted(
                name
                for name in below
                if not name.startswith(".") and not is_of_a_step(Path(place, name))
            )
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            found |= {Path(place, name) for name in names if name[0] != "."}
    return found, problems


def is_of_a_step(folder: Path) -> bool:
    """Return whether a step has made a folder, as its manifest says."""
    manifest = folder / MANIFEST
    return manifest.is_file() and read_sealed(manifest) is not None


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
