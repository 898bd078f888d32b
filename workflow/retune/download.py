"""Step `download`: the documents of a dataset, one parquet per split.

data/raw holds what the source says, unjudged: columns id, group, text.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from retune.errors import RetuneError
from retune.publishing import published_folder, sha256, write_manifest
from retune.quantities import counted, size
from retune.settings import SPLITS, DatasetSettings, Split
from retune.sources.local_files import find_files, read_file
from retune.sources.rows import Row
from retune.sources.text_formats import format_of

log = logging.getLogger(__name__)

SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "group", "text")])
SHOWN_FILES = 3  # of those that are left out
ROW_GROUP_CHARACTERS = 2**24  # bounds the memory, whatever the size of the files


class Document(NamedTuple):
    """One row of data/raw."""

    id: str
    group: str
    text: str | None


def run(settings: DatasetSettings, raw: Path) -> str:
    """Publish the dataset.

    Args:
        settings: The `dataset` section.
        raw: Folder to publish: train.parquet, perhaps validation.parquet and
            test.parquet, manifest.json (data/raw).

    Returns:
        The splits with their documents, and how local files became these, for people.

    Raises:
        RetuneError: If a file, a column or the repository is not as the settings say.
    """
    read = {"builtin": read_builtin, "local": read_local, "hub": read_hub}
    with published_folder(raw) as stage:
        origin = read[settings.source](settings, stage)
        write_manifest(stage, **origin)
        notes = describe_files(settings) if settings.source == "local" else []
        return "; ".join([describe_splits(stage), *notes])


def describe_splits(folder: Path) -> str:
    """Return such as `train 4,545, test 60 documents, 0.81 MB of parquet`."""
    files = [folder / f"{split}.parquet" for split in SPLITS]
    files = [file for file in files if file.exists()]
    rows = [pq.read_metadata(file).num_rows for file in files]
    counts = [f"{file.stem} {n:,}" for file, n in zip(files, rows, strict=True)]
    noun = "document" if sum(rows) == 1 else "documents"
    num_bytes = sum(file.stat().st_size for file in files)
    return f"{', '.join(counts)} {noun}, {size(num_bytes)} of parquet"


def describe_files(settings: DatasetSettings) -> list[str]:
    """Return what became of the user's files where another thing could be thought."""
    found = find_files(settings)
    texts = [
        path
        for path in chain.from_iterable(found.splits.values())
        if format_of(path) == ".txt"
    ]
    notes = []
    if texts:
        each = "one document each"
        if settings.txt_documents == "line":
            each = "one document per line"
        if settings.document_start:
            each = "documents by document_start"
        notes.append(f"{counted(len(texts), '.txt file')}, {each}")
    if found.left_out:
        shown = [str(path) for path in found.left_out[:SHOWN_FILES]]
        others = len(found.left_out) - len(shown)
        rest = f" and {others:,} more" if others else ""
        notes.append(f"no text and left out: {', '.join(shown)}{rest}")
        log.warning("left out: %s", ", ".join(map(str, found.left_out)))
    return notes


def read_builtin(settings: DatasetSettings, folder: Path) -> dict[str, Any]:
    """Write the built-in corpus and return its origin."""
    from retune.sources.builtin_corpus import describe, read_corpus

    columns = read_corpus().select("id", "group", "text")
    write_documents(folder / "train.parquet", map(Document._make, columns.iter_rows()))
    return describe()


def read_local(settings: DatasetSettings, folder: Path) -> dict[str, Any]:
    """Write the documents of the user's files and return their origin."""
    paths = find_files(settings).splits
    for split, files in paths.items():
        rows = chain.from_iterable(read_file(settings, file) for file in files)
        write_split(settings, folder, split, rows)
    return {
        "source": "local",
        "sources": {
            split: [describe_file(file, file.as_posix()) for file in files]
            for split, files in paths.items()
        },
        "pyarrow_version": pa.__version__,
    }


def read_hub(settings: DatasetSettings, folder: Path) -> dict[str, Any]:
    """Write the documents of a hub dataset and return its origin."""
    from retune.sources.hub_dataset import (
        HubDataset,  # loads `datasets`, which takes seconds
    )

    with TemporaryDirectory(prefix=".source.", dir=folder) as cache:
        dataset = HubDataset(settings, Path(cache))
        for split in dataset.paths:
            write_split(settings, folder, split, dataset.rows(split))
        return {
            "source": "hub",
            "name": settings.name,
            "revision": settings.revision,
            "subset": dataset.subset,
            "sources": {
                split: [describe_file(dataset.arrived / path, path) for path in paths]
                for split, paths in dataset.paths.items()
            },
            "datasets_version": dataset.library_version,
            "pyarrow_version": pa.__version__,
        }


def describe_file(path: Path, name: str) -> dict[str, Any]:
    """Return a source file's entry of the manifest."""
    return {"path": name, "size": path.stat().st_size, "sha256": sha256(path)}


def write_split(
    settings: DatasetSettings, folder: Path, split: Split, rows: Iterable[Row]
) -> None:
    """Write the documents of a split; their ids count the rows of the source."""
    if settings.document_start:
        numbered = join_rows(rows, settings.document_start)
    else:
        numbered = enumerate(rows)
    documents = (name_document(split, number, row) for number, row in numbered)
    if not write_documents(folder / f"{split}.parquet", documents):
        where = ", ".join((settings.files or {}).get(split, [])) or settings.name
        raise RetuneError(f"dataset: split {split} holds no rows ({where})")


def name_document(split: Split, number: int, row: Row) -> Document:
    """Return the document that starts at row `number`."""
    name = f"{split}-{number:09d}"
    return Document(name, row.group or name, row.text)


def join_rows(rows: Iterable[Row], document_start: str) -> Iterator[tuple[int, Row]]:
    """Yield each document, its rows joined as lines, with its first row's number.

    What stands before the first match is a document too, unless it is blank.
    """
    try:
        starts = re.compile(document_start).search
    except re.error as error:
        raise RetuneError(
            f"dataset.document_start: {document_start!r}: {error}"
        ) from None
    matches, first, group = 0, 0, None
    lines: list[str] = []
    for number, row in enumerate(rows):
        text = row.text or ""
        is_start = starts(text) is not None
        matches += is_start
        if is_start or (not lines and text.strip()):
            if lines:
                yield first, Row("\n".join(lines), group)
            first, lines, group = number, [], row.group
            lines = [text.removesuffix("\n")]
        elif lines:
            lines.append(text.removesuffix("\n"))
    if not matches:
        raise RetuneError(f"dataset.document_start: {document_start!r} matches no row")
    yield first, Row("\n".join(lines), group)


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write a parquet file, a row group at a time, and return the documents written."""
    written = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for group in row_groups(documents):
            columns = [
                pa.array(values, pa.string()) for values in zip(*group, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            written += len(group)
    return written


def row_groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield the documents in lists of bounded size."""
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        # What Python needs for an object counts too, or short rows would fill memory.
        characters += len(document.text or "") + 100
        if characters >= ROW_GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group
