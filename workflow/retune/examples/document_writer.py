"""Writes documents into parquet files, in memory that their number does not raise."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.data_metrics import Kind
from retune.examples.document_kinds import stored_columns
from retune.examples.documents import Document

ROW_GROUP_CHARACTERS = 2**24
# What Python needs for a document beside its content, counted as so many characters:
# without it very many short documents would fill the memory.
CHARACTERS_OF_OBJECT = 100


def write_documents(
    path: Path, documents: Iterable[Document], kind: Kind = "text"
) -> int:
    """Write a parquet file, a row group at a time.

    Args:
        path: File to write.
        documents: The documents.
        kind: What the documents are, which names the column for their content.

    Returns:
        Number of documents written.
    """
    schema = pa.schema([(name, pa.string()) for name in stored_columns(kind)])
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in row_groups(documents):
            columns = [
                pa.array(values, pa.string()) for values in zip(*group, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            written += len(group)
    return written


def row_groups(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield the documents in lists of bounded size."""
    group: list[Document] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.content or "") + CHARACTERS_OF_OBJECT
        if characters >= ROW_GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group
