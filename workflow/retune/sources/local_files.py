"""Local files as a source: jsonl, parquet, csv and txt, read a little at a time."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

import pyarrow as pa

from retune.errors import RetuneError
from retune.settings import SPLITS, TEXT_FORMATS, DatasetSettings
from retune.sources.rows import Row, check_columns, parquet_rows, wrong_type


def find_files(settings: DatasetSettings) -> dict[str, list[Path]]:
    """Return the files of each split, those of a glob sorted by name."""
    found: dict[str, list[Path]] = {}
    problems = []
    for split in SPLITS:
        for pattern in settings.files.get(split, []):
            matches = sorted(glob(str(Path(pattern).expanduser()), recursive=True))
            files = [Path(match) for match in matches if Path(match).is_file()]
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


def read_file(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield the rows of a file, a little at a time."""
    readers: dict[str, Callable[[DatasetSettings, Path], Iterator[Row]]] = {
        ".jsonl": read_jsonl,
        ".parquet": read_parquet,
        ".csv": read_csv,
        ".txt": read_txt,
    }
    try:
        yield from readers[path.suffix](settings, path)
    except (pa.ArrowException, csv.Error, UnicodeError, OSError) as error:
        raise RetuneError(f"dataset.files: cannot read {path}: {error}") from error


def read_jsonl(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield a row per line of JSON; a key that later lines lack is null there."""
    text_key, group_key = settings.text_column, settings.group_column
    is_first = True
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except ValueError as error:
                raise RetuneError(
                    f"dataset.files: {where} is not JSON: {error}"
                ) from None
            if not isinstance(record, dict):
                raise RetuneError(f"dataset.files: {where} is not a JSON object")
            if is_first:
                check_columns(settings, record, str(path))
                is_first = False
            text, group = record.get(text_key), record.get(group_key)
            if not isinstance(text, str | None):
                raise wrong_type(text_key, type(text).__name__, where)
            (text or "").encode()  # refuses half of a surrogate pair
            yield Row(text, group if group is None else str(group))


def read_parquet(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield the rows of a parquet file."""
    return parquet_rows(settings, path, str(path))


def read_csv(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header; an empty field is empty text."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = csv.DictReader(file, strict=True)
        check_columns(settings, records.fieldnames or [], str(path))
        for record in records:
            group = record[settings.group_column] if settings.group_column else None
            yield Row(record[settings.text_column], group)


def read_txt(settings: DatasetSettings, path: Path) -> Iterator[Row]:
    """Yield a row per line, without its line break, as Hugging Face `text` does."""
    check_columns(settings, ["text"], f"{path} (a .txt file)")
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            yield Row(line.removesuffix("\n"), None)
