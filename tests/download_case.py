"""Runs the step `download` on small files, and reads what came of it."""

import io
import json
from pathlib import Path

import polars as pl
import pytest

from retune.errors import RetuneError
from retune.settings import DatasetSettings
from retune.steps import download


def parquet(**columns):
    stream = io.BytesIO()
    pl.DataFrame(columns).write_parquet(stream)
    return stream.getvalue()


def rows_of(folder, split="train"):
    return pl.read_parquet(folder / f"{split}.parquet").rows()


def run_local(target, files, **settings):
    files = {split: list(map(str, paths)) for split, paths in files.items()}
    settings = DatasetSettings(source="local", files=files, **settings)
    return download.run(settings, target)


def download_texts(dataset):
    """Return what `download` says of a dataset, and the texts it brings to ./raw."""
    settings = DatasetSettings.model_validate(dataset)
    done = download.run(settings, Path("raw"))
    return done, pl.read_parquet("raw/train.parquet")["text"].to_list()


def download_examples(dataset):
    """Return what `download` says of a dataset, and the examples it brings to ./raw."""
    settings = DatasetSettings.model_validate(dataset)
    done = download.run(settings, Path("raw"))
    rows = pl.read_parquet("raw/train.parquet")
    assert rows.columns == ["id", "group", "example"]
    return done, list(map(json.loads, rows["example"]))


def refusal_of(dataset):
    """Return why `download` refuses a dataset; it has written nothing."""
    with pytest.raises(RetuneError) as caught:
        download.run(DatasetSettings.model_validate(dataset), Path("raw"))
    assert not Path("raw").exists()
    return str(caught.value)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
