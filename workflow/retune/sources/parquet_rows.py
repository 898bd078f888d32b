"""Rows of parquet files."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from retune.examples.arrow_rows import ROWS_PER_BATCH, rows_of
from retune.examples.columns import check_columns
from retune.examples.rows import Row, SourceFile
from retune.settings import DatasetSettings
from retune.sources.compressed import opened_seekable


def read_parquet(settings: DatasetSettings, file: SourceFile) -> Iterator[Row]:
    """Yield the rows of a parquet file, in memory that its size does not raise."""
    # With pre_buffer all that has been read of a file stays in memory.
    with (
        opened_seekable(file.path) as stream,
        pq.ParquetFile(stream, pre_buffer=False) as parquet,
    ):
        check_columns(settings, parquet.schema_arrow.names, file)
        columns = [settings.text_column, *filter(None, [settings.group_column])]
        first = 1
        for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=columns):
            yield from rows_of(settings, pa.Table.from_batches([batch]), file, first)
            first += len(batch)
