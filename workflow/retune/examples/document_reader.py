"""Reads the documents of all splits that `download` has written."""

from pathlib import Path

import polars as pl

from retune.errors import RetuneError
from retune.examples.documents import COLUMNS
from retune.examples.duplicates import BY_PRECEDENCE
from retune.settings import SPLITS


def read_documents(folder: Path) -> pl.DataFrame:
    """Return all documents, sorted by split, id, group and text.

    Args:
        folder: Folder with train.parquet, perhaps validation.parquet and test.parquet.

    Returns:
        Columns id, group, text (strings; the text in Unicode form NFC) and split.

    Raises:
        RetuneError: If a file is missing, not readable, empty or lacks a column.
    """
    if not (folder / "train.parquet").is_file():
        raise RetuneError(f"{folder}/train.parquet is missing: run the step download")
    paths = [folder / f"{name}.parquet" for name in SPLITS]
    frames = [read_split(path) for path in paths if path.is_file()]
    documents = pl.concat(frames).with_columns(pl.col("text").str.normalize("NFC"))
    return documents.sort("split", "id", "group", "text")


def read_split(path: Path) -> pl.DataFrame:
    """Return the documents of one file and, as a column, the split it is named after.

    Raises:
        RetuneError: If the file is not readable, empty or lacks a column.
    """
    try:
        schema = pl.read_parquet_schema(path)
        wrong = [name for name in COLUMNS if schema.get(name) != pl.String]
        if wrong:
            found = ", ".join(f"{name} ({dtype})" for name, dtype in schema.items())
            raise RetuneError(
                f"{path}: needs the string columns {', '.join(COLUMNS)}; found {found}"
            )
        rows = pl.read_parquet(path, columns=list(COLUMNS))
    except (pl.exceptions.ComputeError, OSError) as error:
        raise RetuneError(
            f"{path}: not readable as Parquet ({type(error).__name__}): delete"
            f" {path.parent} and run the step download again"
        ) from error
    if rows.is_empty():
        raise RetuneError(f"{path}: holds no documents; check dataset")
    split = pl.lit(path.stem, dtype=BY_PRECEDENCE).alias("split")
    return rows.select(*COLUMNS, split)
