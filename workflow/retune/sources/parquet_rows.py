"""Rows of parquet files."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from retune.examples.arrow_rows import ROWS_PER_BATCH, rows_of
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row, SourceFile
from retune.sources.compressed import opened_seekable


def read_parquet(reader: RowReader, file: SourceFile) -> Iterator[Row]:
    """Yield the rows of a parquet file, in memory that its size does not raise."""
    # With pre_buffer all that has been read of a file stays in memory.
    with (
        opened_seekable(file.path) as stream,
        pq.ParquetFile(stream, pre_buffer=False) as parquet,
    ):
        names = parquet.schema_arrow.names
        reader.check_columns(names, file)
        columns = [name for name in reader.columns_to_read if name in names]
        first = 1
        for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=columns):
            yield from rows_of(reader, pa.Table.from_batches([batch]), file, first)
            first += len(batch)
