"""Reads the documents of all splits that `download` has written."""

from pathlib import Path

import polars as pl

from retune.errors import RetuneError
from retune.examples.document_kinds import SOURCE, kind_of, noun_of, stored_columns
from retune.examples.duplicates import BY_PRECEDENCE
from retune.examples.example_facts import add_facts
from retune.settings import SPLITS


def read_documents(folder: Path) -> pl.DataFrame:
    """Return all documents, sorted by split, id, group and text or example.

    Args:
        folder: Folder with train.parquet, perhaps validation.parquet and test.parquet.

    Returns:
        Columns id, group and split, and source where there are several; for texts the
        column text, for examples the columns of `ExampleFacts`. Texts, and the strings
        of examples, are in Unicode form NFC.

    Raises:
        RetuneError: If a file is missing, not readable, empty or lacks a column, or if
            some files hold texts and others examples.
    """
    if not (folder / "train.parquet").is_file():
        raise RetuneError(f"{folder}/train.parquet is missing: run the step download")
    paths = [folder / f"{name}.parquet" for name in SPLITS]
    frames = {path: read_split(path) for path in paths if path.is_file()}
    check_one_kind(frames)
    documents = pl.concat(frames.values())
    kind = kind_of(documents.columns)
    if kind == "example":
        documents = add_facts(documents)
    else:
        documents = documents.with_columns(pl.col("text").str.normalize("NFC"))
    return documents.sort("split", "id", "group", kind)


def check_one_kind(frames: dict[Path, pl.DataFrame]) -> None:
    """Raise RetuneError if some files hold texts and others examples.

    Args:
        frames: What each file holds.
    """
    files: dict[str, list[str]] = {}
    for path, frame in frames.items():
        files.setdefault(kind_of(frame.columns), []).append(str(path))
    if len(files) > 1:
        raise RetuneError(
            "dataset.format: all splits must be texts, or all examples with an answer;"
            f" texts are in {', '.join(files['text'])}, examples in"
            f" {', '.join(files['example'])}"
        )


def read_split(path: Path) -> pl.DataFrame:
    """Return the documents of one file and, as a column, the split it is named after.

    Raises:
        RetuneError: If the file is not readable, empty or lacks a column.
    """
    try:
        schema = pl.read_parquet_schema(path)
        columns = stored_columns(kind_of(schema), SOURCE in schema)
        wrong = [name for name in columns if schema.get(name) != pl.String]
        if wrong:
            found = ", ".join(f"{name} ({dtype})" for name, dtype in schema.items())
            raise RetuneError(
                f"{path}: needs the string columns {', '.join(columns)}; found {found}"
            )
        rows = pl.read_parquet(path, columns=list(columns))
    except (pl.exceptions.ComputeError, OSError) as error:
        raise RetuneError(
            f"{path}: not readable as Parquet ({type(error).__name__}): delete"
            f" {path.parent} and run the step download again"
        ) from error
    if rows.is_empty():
        raise RetuneError(f"{path}: holds no {noun_of(schema)}s; check dataset")
    split = pl.lit(path.stem, dtype=BY_PRECEDENCE).alias("split")
    return rows.select(*columns, split)
