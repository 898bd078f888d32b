"""Step `download`: the documents of a dataset, one parquet file per split.

data/raw holds what the source says, unjudged: columns id, group, text, or id, group,
example where the rows have answers. With several sources the column source is the name
of each document's.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.data_metrics import Kind
from retune.artifacts.origins import DataOrigin, file_entries
from retune.artifacts.publishing import published_folder
from retune.errors import RetuneError
from retune.examples.conversations import as_settings_say
from retune.examples.document_kinds import noun_of, stored_columns
from retune.examples.document_writer import write_documents
from retune.examples.documents import Document, documents_of
from retune.examples.joined_sources import check_one_kind, join_sources
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row
from retune.quantities import counted, size
from retune.settings import SPLITS, DatasetSettings, SourceSettings, Split
from retune.settings.text_formats import format_of
from retune.sources.errors_of_source import errors_of_source
from retune.sources.local_files import read_file
from retune.sources.named_files import find_files

log = logging.getLogger(__name__)

# Number of files that the summary names of those that are left out.
SHOWN_FILES = 3


def run(settings: DatasetSettings, raw: Path) -> str:
    """Publish the documents of the dataset.

    Args:
        settings: The section `dataset`.
        raw: Folder to publish: train.parquet, perhaps validation.parquet and
            test.parquet, manifest.json (data/raw).

    Returns:
        The splits with their documents, and how local files became these, for people.

    Raises:
        RetuneError: If a file, a column or the repository is not as the settings say.
    """
    with published_folder(raw) as stage:
        write = write_sources if settings.sources else write_source
        origin, summary = write(settings, stage)
        origin.write_into(stage)
        return summary


def write_sources(settings: DatasetSettings, folder: Path) -> tuple[DataOrigin, str]:
    """Write the documents of all sources; return their origin, and a line on them."""
    origins, lines = {}, []
    with TemporaryDirectory(prefix=".sources.", dir=folder) as apart:
        folders = {name: Path(apart, name) for name in settings.sources}
        for name, source in settings.sources.items():
            folders[name].mkdir()
            with errors_of_source(name):
                origins[name], line = write_source(source, folders[name])
            lines.append(f"{name}: {line}")
            check_one_kind({known: folders[known] for known in origins})
        join_sources(folders, folder)
    origin = DataOrigin(source="several", parts=origins, pyarrow_version=pa.__version__)
    return origin, "; ".join(lines)


def write_source(settings: SourceSettings, folder: Path) -> tuple[DataOrigin, str]:
    """Write the documents of one source; return its origin, and a line on them."""
    write = {"builtin": write_builtin, "local": write_local, "hub": write_hub}
    reader = RowReader(settings)
    origin = write[settings.source](reader, folder)
    remarks = local_file_remarks(settings) if settings.source == "local" else []
    return origin, "; ".join([reader.recognized + split_sizes(folder), *remarks])


def split_sizes(folder: Path) -> str:
    """Return such as `train 4,545, test 60 documents, 0.81 MB of parquet`."""
    files = [folder / f"{split}.parquet" for split in SPLITS]
    files = [file for file in files if file.exists()]
    written = [pq.read_metadata(file) for file in files]
    counts = [
        f"{file.stem} {metadata.num_rows:,}"
        for file, metadata in zip(files, written, strict=True)
    ]
    noun = noun_of(written[0].schema.names)
    plural = "" if sum(metadata.num_rows for metadata in written) == 1 else "s"
    num_bytes = sum(file.stat().st_size for file in files)
    return f"{', '.join(counts)} {noun}{plural}, {size(num_bytes)} of parquet"


def local_file_remarks(settings: SourceSettings) -> list[str]:
    """Return what became of local files where a user may expect something else."""
    found = find_files(settings)
    texts = [
        path
        for path in chain.from_iterable(found.splits.values())
        if format_of(path) == ".txt"
    ]
    remarks = []
    if texts:
        each = "one document each"
        if settings.txt_documents == "line":
            each = "one document per line"
        if settings.document_start:
            each = "documents by document_start"
        remarks.append(f"{counted(len(texts), '.txt file')}, {each}")
    if found.left_out:
        shown = [str(path) for path in found.left_out[:SHOWN_FILES]]
        others = len(found.left_out) - len(shown)
        rest = f" and {others:,} more" if others else ""
        remarks.append(f"no text and left out: {', '.join(shown)}{rest}")
        log.warning("left out: %s", ", ".join(map(str, found.left_out)))
    return remarks


def write_builtin(reader: RowReader, folder: Path) -> DataOrigin:
    """Write the built-in corpus, or the conversations, and return their origin."""
    if reader.settings.format == "messages":
        return write_builtin_chat(reader.settings, folder)
    from retune.sources.builtin_corpus import corpus_origin, read_corpus

    columns = read_corpus().select(*stored_columns("text"))
    write_documents(folder / "train.parquet", map(Document._make, columns.iter_rows()))
    return corpus_origin()


def write_builtin_chat(settings: SourceSettings, folder: Path) -> DataOrigin:
    """Write the built-in conversations and return their origin."""
    from retune.sources.builtin_chat import conversations_origin

    documents = builtin_conversations(settings)
    write_documents(folder / "train.parquet", documents, "example")
    return conversations_origin()


def builtin_conversations(settings: SourceSettings) -> Iterator[Document]:
    """Yield the built-in conversations as documents."""
    from retune.sources.builtin_chat import read_conversations

    for row_id, group, talk in read_conversations():
        yield Document(row_id, group, as_settings_say(talk, settings).to_json())


def write_local(reader: RowReader, folder: Path) -> DataOrigin:
    """Write the documents of the user's files and return their origin."""
    paths = find_files(reader.settings).splits
    for split, files in paths.items():
        rows = chain.from_iterable(read_file(reader, file) for file in files)
        write_split(reader, folder, split, rows)
    reader.check_named_columns()
    return DataOrigin(
        source="local",
        sources={
            split: file_entries((file, file.as_posix()) for file in files)
            for split, files in paths.items()
        },
        row_format=reader.format.name,
        columns=reader.columns,
        pyarrow_version=pa.__version__,
    )


def write_hub(reader: RowReader, folder: Path) -> DataOrigin:
    """Write the documents of a hub dataset and return their origin."""
    settings = reader.settings
    # It loads `datasets`, which takes seconds.
    from retune.sources.hub_dataset import HubDataset

    with TemporaryDirectory(prefix=".source.", dir=folder) as cache:
        dataset = HubDataset(settings, Path(cache))
        for split in dataset.paths:
            write_split(reader, folder, split, dataset.rows(reader, split))
        reader.check_named_columns()
        return DataOrigin(
            source="hub",
            name=settings.name,
            revision=settings.revision,
            subset=dataset.subset,
            sources={
                split: file_entries((dataset.arrived / path, path) for path in paths)
                for split, paths in dataset.paths.items()
            },
            row_format=reader.format.name,
            columns=reader.columns,
            datasets_version=dataset.library_version,
            pyarrow_version=pa.__version__,
        )


def write_split(
    reader: RowReader, folder: Path, split: Split, rows: Iterable[Row]
) -> None:
    """Write the documents of a split, of which there must be at least one."""
    settings = reader.settings
    documents = iter(documents_of(rows, split, settings.document_start))
    first = next(documents, None)
    if first is None:
        raise no_rows(settings, split)
    # The first row has said what the rows are.
    kind: Kind = "text" if reader.format.name == "text" else "example"
    write_documents(folder / f"{split}.parquet", chain([first], documents), kind)


def no_rows(settings: SourceSettings, split: Split) -> RetuneError:
    """Return the error about a split whose files hold no rows."""
    where = ", ".join((settings.files or {}).get(split, [])) or settings.name
    return RetuneError(f"dataset: split {split} holds no rows ({where})")
