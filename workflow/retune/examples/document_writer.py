"""Writes documents into parquet files, in memory that their number does not raise."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retune.examples.documents import COLUMNS, Document

SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
ROW_GROUP_CHARACTERS = 2**24
# What Python needs for a document beside its text, counted as so many characters:
# without it very many short documents would fill the memory.
CHARACTERS_OF_OBJECT = 100


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write a parquet file, a row group at a time.

    Returns:
        Number of documents written.
    """
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
        characters += len(document.text or "") + CHARACTERS_OF_OBJECT
        if characters >= ROW_GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group
