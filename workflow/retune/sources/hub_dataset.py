"""A hub dataset as a source: `datasets` says which files make up which split.

The bytes of the files are downloaded here, because `datasets` checks none of them, and
takes another commit or a local folder in silence.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from itertools import chain
from pathlib import Path

import datasets
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.packaged_modules.text.text import Text

from retune.compat.datasets import (
    NO_DATA_FILES,
    DatasetsError,
    data_files_of,
    leave_torch_out,
    stream_tables,
    subset_problem,
)
from retune.examples.arrow_rows import ROWS_PER_BATCH, rows_of
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row, SourceFile
from retune.settings import SourceSettings, Split
from retune.sources.hub_files import download_files, list_files
from retune.sources.hub_repository import Repository
from retune.sources.hub_retries import with_retries
from retune.sources.json_rows import is_array, read_json
from retune.sources.local_files import UNREADABLE, FileReader, read_rows
from retune.sources.parquet_rows import read_parquet
from retune.sources.text_lines import read_lines
from retune.sources.text_rows import read_csv, read_txt

# Names of splits on the hub that are taken for each of ours.
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}

leave_torch_out()
datasets.disable_progress_bars()
log = logging.getLogger(__name__)

# The first bytes of a zip archive, and of a file that lz4 has compressed.
PACKED = (b"PK\x03\x04", b"\x04\x22\x4d\x18")


class HubDataset:
    """The files of a hub dataset, downloaded and ready to read.

    Attributes:
        paths: Paths of the files in the repository, by our splits.
        arrived: Folder that holds the files under these paths.
        subset: Name of the configuration of the dataset.
        library_version: Version of `datasets`, which says what the files mean.
    """

    library_version = datasets.__version__

    def __init__(self, settings: SourceSettings, folder: Path) -> None:
        """Download the files into a folder and check them."""
        self.repository = Repository.of(settings)
        # `datasets` takes a relative path for one in the repository on the hub.
        self.arrived = folder.resolve() / "files"
        files = list_files(self.repository)
        find = partial(find_builder, settings, self.repository, folder / "cache")
        self.builder = with_retries(self.repository, find)
        self.subset = self.builder.config.name
        self.paths = find_splits(self.repository, self.builder)
        wanted = [files[path] for path in chain(*self.paths.values())]
        download_files(self.repository, wanted, self.arrived)

    def rows(self, reader: RowReader, split: Split) -> Iterator[Row]:
        """Yield the rows of a split, from the files that arrived."""
        where = f"{self.repository}, split {split}"
        files = [
            SourceFile(self.arrived / path, f"{where}, {path}", "name")
            for path in self.paths[split]
        ]
        read = own_reader(self.builder, files)
        if read:
            for file in files:
                yield from read_rows(read, reader, file)
        else:
            yield from self.streamed_rows(reader, split, files, where)

    def streamed_rows(
        self, reader: RowReader, split: Split, files: list[SourceFile], where: str
    ) -> Iterator[Row]:
        """Yield the rows of a split, as `datasets` itself reads its files."""
        paths = [file.path for file in files]
        whole = SourceFile(self.arrived, where, "name")
        first = 1
        try:
            for table in stream_tables(self.builder, split, paths, ROWS_PER_BATCH):
                reader.check_columns(table.column_names, whole)
                yield from rows_of(reader, table, whole, first)
                first += len(table)
        except (*UNREADABLE, DatasetsError, ValueError) as error:
            raise whole.problem(f"cannot be read: {error}") from error


def own_reader(
    builder: datasets.DatasetBuilder, files: list[SourceFile]
) -> FileReader | None:
    """Return our reader of a dataset's format; None where that of `datasets` is needed.

    The readers of `datasets` change rows of text formats in silence: they take the last
    fields of a CSV row that has more fields than the header, no text for the text
    `None`, and the last value of a key that occurs twice in a JSON object. The parquet
    reader of `datasets` runs ahead of a slow consumer without bound.
    """
    config = builder.config
    if any(map(is_packed, files)):
        return None
    if isinstance(builder, Parquet):
        return read_parquet if config.filters is None else None
    if (
        isinstance(builder, Csv)
        and is_default(config, but=("sep", "delimiter"))
        and len(config.sep) == 1
    ):
        return partial(read_csv, delimiter=config.sep)
    if isinstance(builder, Text) and is_default(config):
        return read_txt
    if isinstance(builder, Json) and is_default(config):
        return read_json if all(map(holds_json_rows, files)) else None
    return None


def is_packed(file: SourceFile) -> bool:
    """Return whether a file is packed in a way that only `datasets` reads."""
    with file.path.open("rb") as stream:
        return stream.read(4) in PACKED


def is_default(config: datasets.BuilderConfig, but: tuple[str, ...] = ()) -> bool:
    """Return whether a dataset sets no option of how its files are read.

    Args:
        config: Options of the dataset.
        but: Names of options that the dataset may set.
    """
    names = {field.name for field in fields(config)}
    of_every_dataset = {field.name for field in fields(datasets.BuilderConfig)}
    default = type(config)()
    return all(
        getattr(config, name) == getattr(default, name)
        for name in names - of_every_dataset - {*but}
    )


def holds_json_rows(file: SourceFile) -> bool:
    """Return whether a file is an array, or its first line of text is a JSON object."""
    try:
        if is_array(file):
            return True
        first = next((line for line in read_lines(file) if line.strip()), "")
        return isinstance(json.loads(first), dict)
    except UNREADABLE:
        # Our reader then says that the file cannot be read.
        return True
    except ValueError:
        return ".jsonl" in Path(file.name).suffixes


def find_builder(
    settings: SourceSettings, repository: Repository, cache: Path
) -> datasets.DatasetBuilder:
    """Return the builder that `datasets` has for the dataset at its commit.

    The prefix of the name keeps `datasets` from taking a folder of the same name here.
    A cache of its own keeps it from taking another commit when the hub is away.
    """
    try:
        return datasets.load_dataset_builder(
            f"hf://datasets/{settings.name}",
            settings.subset,
            revision=settings.revision,
            cache_dir=str(cache),
        )
    except NO_DATA_FILES as error:
        raise repository.problem(
            "name", f"{repository} holds no files that `datasets` reads"
        ) from error
    except FileNotFoundError as error:
        # The repository was there before, so the hub is away now.
        raise ConnectionError(f"no answer about the files of {repository}") from error
    except RuntimeError as error:
        # The dataset needs a loading script.
        raise repository.problem("name", f"{repository}: {error}") from error
    except ValueError as error:
        text = subset_problem(error)
        if text is None:
            raise
        raise repository.problem("subset", text) from error


def find_splits(
    repository: Repository, builder: datasets.DatasetBuilder
) -> dict[Split, list[str]]:
    """Return the paths of the files in the repository, by our splits."""
    addresses = data_files_of(builder)
    names = {
        split: next((name for name in aliases if name in addresses), None)
        for split, aliases in SPLIT_NAMES.items()
    }
    if names["train"] is None:
        raise repository.problem(
            "name",
            f"{repository} has no split train; there are: {', '.join(addresses)}",
        )
    if unused := sorted(set(addresses) - set(names.values())):
        log.info("splits of %s left out: %s", repository, ", ".join(unused))
    urls = {split: addresses[name] for split, name in names.items() if name}
    root = f"hf://datasets/{repository.name}@{repository.revision}/"
    for url in chain(*urls.values()):
        if not url.startswith(root):
            raise repository.problem("name", f"{url} does not belong to {repository}")
    return {
        split: [url.removeprefix(root) for url in found]
        for split, found in urls.items()
    }
