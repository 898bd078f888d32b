"""Whether the dataset is there, and its first rows are what the settings say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.data_metrics import Kind
from retune.artifacts.publishing import write_manifest
from retune.artifacts.verifying import verify_folder
from retune.checking.outcome import Outcome, failed, not_checked, problems_in
from retune.errors import RetuneError
from retune.examples.document_checks import reject_bad, share_problem
from retune.examples.document_reader import read_documents
from retune.examples.document_writer import write_documents
from retune.examples.documents import Document, documents_of
from retune.examples.joined_sources import check_one_kind, join_sources
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row
from retune.quantities import counted
from retune.settings import DatasetSettings, PrepareSettings, SourceSettings, Split
from retune.settings.text_formats import format_of
from retune.sources.errors_of_source import about_source
from retune.sources.hub_repository import Repository
from retune.sources.local_files import read_file
from retune.sources.named_files import find_files
from retune.steps.download import builtin_conversations, no_rows, write_builtin

# How much is read: files of each split, rows of each file, and rows of a split whose
# rows are joined to documents.
MOST_FILES, MOST_ROWS, MOST_JOINED_ROWS = 20, 1000, 100_000
# Bytes of a split's rows that are read, though at least a row of each file.
MOST_BYTES = 8_000_000
# Rows of what `download` has made that are read at once.
ROWS_AT_ONCE = 20
# Largest file that is read as a single document, bytes.
LARGEST_DOCUMENT = 20_000_000


@dataclass(frozen=True)
class FirstDocuments:
    """The first documents of a dataset.

    Attributes:
        raw: Folder with them, as `download` writes it.
        are_all: Whether these are all documents of the dataset.
    """

    raw: Path
    are_all: bool


@dataclass(frozen=True)
class LookedAt:
    """What a look at one source came to.

    Attributes:
        found: What was read, in words.
        errors: What is wrong, a text each.
        warnings: What may be wrong, a text each.
        are_all: Whether all documents of the source were read.
        is_here: Whether the source is on this machine.
    """

    found: str
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    are_all: bool = False
    is_here: bool = True


class EnoughRowsError(Exception):
    """So many rows were read that no more will be."""


def check_data(
    settings: DatasetSettings, folder: Path
) -> tuple[FirstDocuments | None, Outcome]:
    """Return the first documents of the dataset, and what is wrong with them.

    Args:
        settings: The section `dataset`.
        folder: Empty folder for the documents.

    Returns:
        The documents; None if there are none here, or anything is wrong.
    """
    if not settings.sources:
        looked = look_at(settings, folder)
        return first_documents(folder, looked), outcome_of(looked)
    # No source has such a name.
    raw = folder / ".joined"
    raw.mkdir()
    parts: dict[str, LookedAt] = {}
    for name, source in settings.sources.items():
        (folder / name).mkdir()
        looked = look_at(source, folder / name)
        parts[name] = replace(
            looked,
            found=f"{name}: {looked.found}",
            errors=tuple(about_source(name, text) for text in looked.errors),
            warnings=tuple(about_source(name, text) for text in looked.warnings),
        )
    folders = {name: folder / name for name in parts}
    there = {
        name: place
        for name, place in folders.items()
        if (place / "train.parquet").exists()
    }
    errors = tuple(text for part in parts.values() for text in part.errors)
    if there:
        try:
            check_one_kind(there)
            join_sources(there, raw)
        except RetuneError as error:
            errors += (str(error),)
    whole = LookedAt(
        "; ".join(part.found for part in parts.values()),
        errors,
        tuple(text for part in parts.values() for text in part.warnings),
        all(part.are_all for part in parts.values()),
        all(part.is_here for part in parts.values()),
    )
    return first_documents(raw, whole), outcome_of(whole)


def read_made(made: Path, folder: Path) -> tuple[FirstDocuments, Outcome]:
    """Return the first documents of each split that `download` has made.

    Args:
        made: Folder that `download` has made.
        folder: Empty folder for the documents.

    Raises:
        RetuneError: If the folder is damaged, or not there.
    """
    verify_folder(made, "download", leave_out=["*.parquet"])
    number, are_all = 0, True
    for file in sorted(made.glob("*.parquet")):
        with pq.ParquetFile(file) as stream:
            first = first_rows(stream)
            are_all = are_all and len(first) == stream.metadata.num_rows
        pq.write_table(first, folder / file.name)
        number += len(first)
    write_manifest(folder)
    found = f"{made}: {counted(number, 'document')}"
    return FirstDocuments(folder, are_all), Outcome(
        found if are_all else f"{found}, the first of all"
    )


def first_rows(stream: pq.ParquetFile) -> pa.Table:
    """Return the first rows of a file that `download` has made."""
    batches: list[pa.RecordBatch] = []
    for batch in stream.iter_batches(ROWS_AT_ONCE):
        batches.append(batch)
        is_long = sum(each.nbytes for each in batches) >= MOST_BYTES
        if is_long or sum(map(len, batches)) >= MOST_ROWS:
            break
    return pa.Table.from_batches(batches)[:MOST_ROWS]


def is_on_hub(settings: DatasetSettings) -> bool:
    """Return whether the dataset, or one of its sources, is on the hub."""
    sources = [settings, *settings.sources.values()]
    return any(source.source == "hub" for source in sources)


def first_documents(raw: Path, looked: LookedAt) -> FirstDocuments | None:
    """Return the documents in a folder; None if there are none, or errors."""
    if looked.errors or not (raw / "train.parquet").exists():
        return None
    write_manifest(raw)
    return FirstDocuments(raw, looked.are_all)


def outcome_of(looked: LookedAt) -> Outcome:
    """Return the outcome of a look."""
    return Outcome(looked.found, looked.errors, looked.warnings, looked.is_here)


def look_at(settings: SourceSettings, folder: Path) -> LookedAt:
    """Read the first documents of a source, and write them into a folder."""
    if settings.source == "hub":
        name = Repository.of(settings)
        return LookedAt(f"{name}: download fetches it", is_here=False)
    if settings.source == "builtin":
        return look_at_builtin(settings, folder)
    try:
        files = find_files(settings).splits
    except RetuneError as error:
        return LookedAt("", tuple(problems_in(error)))
    reader = RowReader(settings)
    errors: list[str] = []
    are_all = True
    number = 0
    for split, paths in files.items():
        if settings.document_start:
            documents, whole, problems = read_joined(reader, split, paths)
        else:
            documents, whole, problems = read_each(reader, split, paths)
        are_all, errors = are_all and whole, errors + problems
        number += len(documents)
        if documents:
            kind: Kind = "text" if reader.format.name == "text" else "example"
            write_documents(folder / f"{split}.parquet", documents, kind)
        elif whole and not problems:
            errors.append(str(no_rows(settings, split)))
    unused: list[str] = []
    if number and not errors:
        try:
            reader.check_named_columns()
        except RetuneError as error:
            unused = problems_in(error)
    found = found_in_words(reader, number, list(chain.from_iterable(files.values())))
    return LookedAt(
        found if are_all else f"{found}, the first of all",
        (*errors, *(unused if are_all else ())),
        () if are_all else tuple(f"{text}, of those looked at" for text in unused),
        are_all,
    )


def found_in_words(reader: RowReader, number: int, files: list[Path]) -> str:
    """Return what was read: `chats.jsonl: messages: 40 rows`."""
    name = str(files[0]) if len(files) == 1 else counted(len(files), "file")
    noun = "document" if reader.settings.document_start else "row"
    return f"{name}: {reader.recognized}{counted(number, noun)}"


def look_at_builtin(settings: SourceSettings, folder: Path) -> LookedAt:
    """Write the built-in texts, or the first of the built-in conversations."""
    if settings.format != "messages":
        write_builtin(RowReader(settings), folder)
        return LookedAt("builtin", are_all=True)
    documents = islice(builtin_conversations(settings), MOST_ROWS)
    write_documents(folder / "train.parquet", documents, "example")
    return LookedAt("builtin-chat")


def read_each(
    reader: RowReader, split: Split, files: list[Path]
) -> tuple[list[Document], bool, list[str]]:
    """Read the first rows of each file of a split, in which each row is a document.

    Returns:
        The documents, whether these are all, and what is wrong, a text for each file.
    """
    found: list[Document] = []
    errors = []
    are_all = len(files) <= MOST_FILES
    share, num_bytes = MOST_BYTES // min(len(files), MOST_FILES), 0
    for file in files[:MOST_FILES]:
        room = LARGEST_DOCUMENT if num_bytes < MOST_BYTES else 0
        if is_large_document(reader.settings, file, room):
            are_all = False
            continue
        rows: list[Row] = []
        try:
            rows.extend(at_most(read_file(reader, file), MOST_ROWS, share))
        except EnoughRowsError:
            are_all = False
        except RetuneError as error:
            errors.append(str(error))
        num_bytes += sum(map(bytes_of, rows))
        # The number of a document counts the rows of the whole split, as in `download`.
        before: Iterable[Row] = [Row(None, None)] * len(found)
        found += list(documents_of([*before, *rows], split, None))[len(found) :]
    return found, are_all, errors


def is_large_document(settings: SourceSettings, file: Path, room: int) -> bool:
    """Return whether a file is one document of more than so many bytes."""
    is_whole = format_of(file) == ".txt" and settings.txt_documents == "file"
    return is_whole and file.stat().st_size > room


def read_joined(
    reader: RowReader, split: Split, files: list[Path]
) -> tuple[list[Document], bool, list[str]]:
    """Read the first documents of a split whose rows are joined to documents.

    Returns:
        The documents, whether these are all, and what is wrong, a text each.
    """
    rows = chain.from_iterable(read_file(reader, file) for file in files)
    start = reader.settings.document_start
    documents = documents_of(at_most(rows, MOST_JOINED_ROWS, MOST_BYTES), split, start)
    found: list[Document] = []
    try:
        for document in documents:
            if len(found) == MOST_ROWS:
                return found, False, []
            found.append(document)
    except EnoughRowsError:
        return found, False, []
    except RetuneError as error:
        return found, False, [str(error)]
    return found, True, []


def at_most(rows: Iterable[Row], number: int, num_bytes: int) -> Iterator[Row]:
    """Yield so many rows, or as many as hold so many bytes.

    Raises:
        EnoughRowsError: If there are more.
    """
    taken = 0
    for place, row in enumerate(rows):
        if place == number or taken >= num_bytes:
            raise EnoughRowsError
        taken += bytes_of(row)
        yield row


def bytes_of(row: Row) -> int:
    """Return the bytes of a row's text or example."""
    return len((row.content or "").encode())


def check_prepare(
    settings: PrepareSettings | None, documents: FirstDocuments | None
) -> Outcome:
    """Return whether `prepare` would take enough of the documents.

    Args:
        settings: The section `prepare`; None if it is wrong.
        documents: The first documents; None if there are none.
    """
    if settings is None:
        return not_checked("the section prepare has an error")
    if documents is None:
        return not_checked("it needs the dataset")
    try:
        frame = read_documents(documents.raw)
    except RetuneError as error:
        return failed(error)
    _, rejected = reject_bad(frame, settings)
    found = f"{len(rejected):,} of {len(frame):,} looked at are rejected"
    problem = share_problem(rejected, len(frame), settings)
    if problem is None:
        return Outcome(found)
    if documents.are_all:
        return Outcome(found, (problem,))
    return Outcome(found, warnings=(f"{problem}\nof those looked at",))
