"""A hub dataset as a source: `datasets` interprets it, hub.py brings its bytes.

The library alone knows which files make up which split, but it checks no bytes, and
it takes another commit or a local folder in silence.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from itertools import chain
from pathlib import Path

import datasets
from datasets.data_files import DataFilesDict, DataFilesList, EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetsError
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json
from datasets.packaged_modules.parquet.parquet import Parquet
from datasets.packaged_modules.text.text import Text

from retune.settings import DatasetSettings, Split
from retune.sources.arrow_rows import ROWS_PER_BATCH, read_parquet, rows_of
from retune.sources.columns import check_columns
from retune.sources.hub import Repository, bring, list_files, with_retries
from retune.sources.json_rows import is_array, read_json
from retune.sources.local_files import UNREADABLE, Reader, read_rows
from retune.sources.rows import Row, SourceFile
from retune.sources.text_lines import read_lines
from retune.sources.text_rows import read_csv, read_txt

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}

datasets.config.TORCH_AVAILABLE = False  # text needs no torch, which loads slowly
datasets.disable_progress_bars()
log = logging.getLogger(__name__)

# How a file begins that is a zip archive, or compressed by lz4.
PACKED = (b"PK\x03\x04", b"\x04\x22\x4d\x18")


class HubDataset:
    """The files of a hub dataset, brought to a folder and ready to read.

    Attributes:
        paths: Paths in the repository of the files of each of our splits.
        arrived: Folder that holds them.
        subset: Name of the configuration.
        library_version: Version of `datasets`, which decides what the files mean.
    """

    library_version = datasets.__version__

    def __init__(self, settings: DatasetSettings, folder: Path) -> None:
        """Bring the files, checked, into `folder`."""
        self.settings = settings
        self.repository = Repository("dataset", settings.name, settings.revision)
        # `datasets` looks for a relative path in the repository on the hub.
        self.arrived = folder.resolve() / "files"
        files = list_files(self.repository)
        find = partial(find_builder, settings, self.repository, folder / "cache")
        self.builder = with_retries(self.repository, find)
        self.subset = self.builder.config.name
        self.paths = find_splits(self.repository, self.builder)
        wanted = [files[path] for path in chain(*self.paths.values())]
        bring(self.repository, wanted, self.arrived)

    def rows(self, split: Split) -> Iterator[Row]:
        """Yield the rows of a split, from the files that arrived."""
        where = f"{self.repository}, split {split}"
        files = [
            SourceFile(self.arrived / path, f"{where}, {path}", "name")
            for path in self.paths[split]
        ]
        reader = own_reader(self.builder, files)
        if reader:
            for file in files:
                yield from read_rows(reader, self.settings, file)
        else:
            yield from self.streamed_rows(split, files, where)

    def streamed_rows(
        self, split: Split, files: list[SourceFile], where: str
    ) -> Iterator[Row]:
        """Yield the rows of any other format, as the library reads it."""
        local = DataFilesList([str(file.path) for file in files], origin_metadata=[])
        self.builder.config.data_files = DataFilesDict({split: local})
        whole = SourceFile(self.arrived, where, "name")
        first = 1
        try:
            stream = self.builder.as_streaming_dataset(split=split)
            for table in stream.with_format("arrow").iter(batch_size=ROWS_PER_BATCH):
                check_columns(self.settings, table.column_names, whole)
                yield from rows_of(self.settings, table, whole, first)
                first += len(table)
        except (*UNREADABLE, DatasetsError, ValueError) as error:
            raise whole.problem(f"cannot be read: {error}") from error


def own_reader(
    builder: datasets.DatasetBuilder, files: list[SourceFile]
) -> Reader | None:
    """Return our reader of a format, None where the library's own is needed.

    The library's readers of text formats change rows in silence: of a CSV row with more
    fields than the header it takes the last ones, the text `None` it takes for none,
    and of a key that occurs twice in a JSON object the last. Its parquet reader runs
    ahead of a slow consumer without bound.
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
    """Return whether a file is an archive, or compressed in a way the library knows."""
    with file.path.open("rb") as stream:
        return stream.read(4) in PACKED


def is_default(config: datasets.BuilderConfig, but: tuple[str, ...] = ()) -> bool:
    """Return whether a dataset says nothing about how its files are to be read.

    Args:
        config: What it says.
        but: Options that do not matter.
    """
    names = {field.name for field in fields(config)}
    of_every_dataset = {field.name for field in fields(datasets.BuilderConfig)}
    default = type(config)()
    return all(
        getattr(config, name) == getattr(default, name)
        for name in names - of_every_dataset - {*but}
    )


def holds_json_rows(file: SourceFile) -> bool:
    """Return whether a file is an array, or a JSON object is its first line of text."""
    try:
        if is_array(file):
            return True
        first = next((line for line in read_lines(file) if line.strip()), "")
        return isinstance(json.loads(first), dict)
    except UNREADABLE:
        return True  # and it is not readable, which our reader says
    except ValueError:
        return ".jsonl" in Path(file.name).suffixes


def find_builder(
    settings: DatasetSettings, repository: Repository, cache: Path
) -> datasets.DatasetBuilder:
    """Return what reads the dataset at its commit.

    Without the prefix a folder of that name here would be taken instead; with the
    shared cache any commit that is in it, when the hub is away.
    """
    try:
        return datasets.load_dataset_builder(
            f"hf://datasets/{settings.name}",
            settings.subset,
            revision=settings.revision,
            cache_dir=str(cache),
        )
    except (DataFilesNotFoundError, EmptyDatasetError) as error:
        raise repository.problem(
            "name", f"{repository} holds no files that `datasets` reads"
        ) from error
    except FileNotFoundError as error:  # the repository is there: the hub is not
        raise ConnectionError(f"no answer about the files of {repository}") from error
    except RuntimeError as error:  # a loading script
        raise repository.problem("name", f"{repository}: {error}") from error
    except ValueError as error:  # its text lists the subsets there are
        text = " ".join(str(error).split()).partition(" Example of usage")[0]
        if not text.startswith(("BuilderConfig", "Config name")):
            raise
        raise repository.problem("subset", text) from error


def find_splits(
    repository: Repository, builder: datasets.DatasetBuilder
) -> dict[Split, list[str]]:
    """Return the paths in the repository that make up each of our splits."""
    files = builder.config.data_files or {}
    there = {str(name): urls for name, urls in files.items()}
    names = {
        split: next((name for name in aliases if name in there), None)
        for split, aliases in SPLIT_NAMES.items()
    }
    if names["train"] is None:
        raise repository.problem(
            "name", f"{repository} has no split train; there are: {', '.join(there)}"
        )
    if unused := sorted(set(there) - set(names.values())):
        log.info("splits of %s left out: %s", repository, ", ".join(unused))
    urls = {split: there[name] for split, name in names.items() if name}
    root = f"hf://datasets/{repository.name}@{repository.revision}/"
    for url in chain(*urls.values()):
        if not url.startswith(root):
            raise repository.problem("name", f"{url} does not belong to {repository}")
    return {
        split: [url.removeprefix(root) for url in found]
        for split, found in urls.items()
    }
