"""Step `download`: the documents of a dataset, one parquet file per split.

data/raw holds what the source says, unjudged: columns id, group, text.
"""

import logging
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.origins import DataOrigin, file_entries
from retune.artifacts.publishing import published_folder
from retune.errors import RetuneError
from retune.examples.document_writer import write_documents
from retune.examples.documents import COLUMNS, Document, documents_of
from retune.examples.rows import Row
from retune.quantities import counted, size
from retune.settings import SPLITS, DatasetSettings, Split
from retune.settings.text_formats import format_of
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
    write = {"builtin": write_builtin, "local": write_local, "hub": write_hub}
    with published_folder(raw) as stage:
        origin = write[settings.source](settings, stage)
        origin.write_into(stage)
        remarks = local_file_remarks(settings) if settings.source == "local" else []
        return "; ".join([split_sizes(stage), *remarks])


def split_sizes(folder: Path) -> str:
    """Return such as `train 4,545, test 60 documents, 0.81 MB of parquet`."""
    files = [folder / f"{split}.parquet" for split in SPLITS]
    files = [file for file in files if file.exists()]
    rows = [pq.read_metadata(file).num_rows for file in files]
    counts = [f"{file.stem} {n:,}" for file, n in zip(files, rows, strict=True)]
    noun = "document" if sum(rows) == 1 else "documents"
    num_bytes = sum(file.stat().st_size for file in files)
    return f"{', '.join(counts)} {noun}, {size(num_bytes)} of parquet"


def local_file_remarks(settings: DatasetSettings) -> list[str]:
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


def write_builtin(settings: DatasetSettings, folder: Path) -> DataOrigin:
    """Write the built-in corpus and return its origin."""
    from retune.sources.builtin_corpus import corpus_origin, read_corpus

    columns = read_corpus().select(*COLUMNS)
    write_documents(folder / "train.parquet", map(Document._make, columns.iter_rows()))
    return corpus_origin()


def write_local(settings: DatasetSettings, folder: Path) -> DataOrigin:
    """Write the documents of the user's files and return their origin."""
    paths = find_files(settings).splits
    for split, files in paths.items():
        rows = chain.from_iterable(read_file(settings, file) for file in files)
        write_split(settings, folder, split, rows)
    return DataOrigin(
        source="local",
        sources={
            split: file_entries((file, file.as_posix()) for file in files)
            for split, files in paths.items()
        },
        pyarrow_version=pa.__version__,
    )


def write_hub(settings: DatasetSettings, folder: Path) -> DataOrigin:
    """Write the documents of a hub dataset and return their origin."""
    # It loads `datasets`, which takes seconds.
    from retune.sources.hub_dataset import HubDataset

    with TemporaryDirectory(prefix=".source.", dir=folder) as cache:
        dataset = HubDataset(settings, Path(cache))
        for split in dataset.paths:
            write_split(settings, folder, split, dataset.rows(split))
        return DataOrigin(
            source="hub",
            name=settings.name,
            revision=settings.revision,
            subset=dataset.subset,
            sources={
                split: file_entries((dataset.arrived / path, path) for path in paths)
                for split, paths in dataset.paths.items()
            },
            datasets_version=dataset.library_version,
            pyarrow_version=pa.__version__,
        )


def write_split(
    settings: DatasetSettings, folder: Path, split: Split, rows: Iterable[Row]
) -> None:
    """Write the documents of a split, of which there must be at least one."""
    documents = documents_of(rows, split, settings.document_start)
    if not write_documents(folder / f"{split}.parquet", documents):
        where = ", ".join((settings.files or {}).get(split, [])) or settings.name
        raise RetuneError(f"dataset: split {split} holds no rows ({where})")
