"""What is used of `datasets` that its documentation does not promise.

Uses the data files of a builder's config, the classes of `datasets.data_files`,
exceptions and a constant of `datasets.config`. Without them no dataset of the hub can
be downloaded; local files and the built-in dataset can still be used.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.data_files import DataFilesDict, DataFilesList, EmptyDatasetError
from datasets.exceptions import DataFilesNotFoundError, DatasetsError

__all__ = [
    "NO_DATA_FILES",
    "DatasetsError",
    "data_files_of",
    "leave_torch_out",
    "stream_tables",
    "subset_problem",
]

# The exceptions for a repository without files that `datasets` reads.
NO_DATA_FILES = (DataFilesNotFoundError, EmptyDatasetError)


def leave_torch_out() -> None:
    """Have `datasets` go without PyTorch, which takes seconds to load.

    Uses `datasets.config.TORCH_AVAILABLE`. Without it `download` is slower.
    """
    datasets.config.TORCH_AVAILABLE = False


def data_files_of(builder: datasets.DatasetBuilder) -> dict[str, list[str]]:
    """Return the addresses of a dataset's files, by the dataset's own splits.

    Uses `BuilderConfig.data_files`. Without it the files cannot be checked.
    """
    files = builder.config.data_files or {}
    return {str(split): list(addresses) for split, addresses in files.items()}


def stream_tables(
    builder: datasets.DatasetBuilder,
    split: str,
    files: Sequence[Path],
    rows_per_table: int,
) -> Iterator[pa.Table]:
    """Yield the rows of local files as Arrow tables, read as the builder reads them.

    Uses `DataFilesList` and `DataFilesDict`. Without them the files that were
    downloaded and checked cannot be read.
    """
    local = DataFilesList([str(file) for file in files], origin_metadata=[])
    builder.config.data_files = DataFilesDict({split: local})
    stream: Any = builder.as_streaming_dataset(split=split)
    yield from stream.with_format("arrow").iter(batch_size=rows_per_table)


def subset_problem(error: ValueError) -> str | None:
    """Return the message of an error that names the subsets there are.

    Uses the first words of the message. Without them a wrong `dataset.subset` shows a
    traceback.

    Returns:
        None if the error is another one.
    """
    text = " ".join(str(error).split()).partition(" Example of usage")[0]
    return text if text.startswith(("BuilderConfig", "Config name")) else None
