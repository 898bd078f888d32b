"""Joins the documents of several sources into one parquet file per split."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.artifacts.data_metrics import Kind
from retune.errors import RetuneError
from retune.examples.document_kinds import SOURCE, kind_of, stored_columns
from retune.settings import SPLITS, Split


def join_sources(folders: Mapping[str, Path], target: Path) -> None:
    """Write a parquet file for each split that any of the sources has.

    Ids and groups get the name of their source, as in `alpaca/train-000000000`, so that
    those of two sources are never the same.

    Args:
        folders: Folder with the splits of each source, by its name.
        target: Folder to write into.

    Raises:
        RetuneError: If some sources hold texts and others examples.
    """
    kind = check_one_kind(folders)
    columns = stored_columns(kind, has_sources=True)
    schema = pa.schema([(name, pa.string()) for name in columns])
    for split in SPLITS:
        files = {name: split_file(folder, split) for name, folder in folders.items()}
        files = {name: file for name, file in files.items() if file.exists()}
        if not files:
            continue
        joined = split_file(target, split)
        with pq.ParquetWriter(joined, schema, compression="zstd") as writer:
            for name, file in files.items():
                for group in row_groups(file):
                    writer.write_table(with_source(group, name).select(columns))


def check_one_kind(folders: Mapping[str, Path]) -> Kind:
    """Return what the documents of all sources are.

    Raises:
        RetuneError: If some are texts and others examples.
    """
    names: dict[Kind, list[str]] = {}
    for name, folder in folders.items():
        schema = pq.read_schema(split_file(folder, "train"))
        names.setdefault(kind_of(schema.names), []).append(name)
    if len(names) > 1:
        raise RetuneError(
            "dataset.sources: all must hold texts, or all examples with an answer;"
            f" texts are in {', '.join(names['text'])}, examples in"
            f" {', '.join(names['example'])}: leave some out, or choose their format"
        )
    return next(iter(names))


def split_file(folder: Path, split: Split) -> Path:
    """Return the parquet file of a split."""
    return folder / f"{split}.parquet"


def row_groups(file: Path) -> Iterator[pa.Table]:
    """Yield the row groups of a parquet file."""
    with pq.ParquetFile(file) as stream:
        for number in range(stream.num_row_groups):
            yield stream.read_row_group(number)


def with_source(documents: pa.Table, name: str) -> pa.Table:
    """Return documents whose ids and groups begin with the name of their source."""
    for column in ("id", "group"):
        place = documents.schema.get_field_index(column)
        named = pc.binary_join_element_wise(
            pa.scalar(name), documents.column(column), "/"
        )
        documents = documents.set_column(place, column, named)
    source = pa.array([name] * len(documents), pa.string())
    return documents.append_column(SOURCE, source)
