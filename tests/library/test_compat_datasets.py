"""`datasets` has what is used of it beyond its documentation."""

import datasets
import pytest

from retune.compat.datasets import (
    NO_DATA_FILES,
    data_files_of,
    leave_torch_out,
    stream_tables,
    subset_problem,
)

TWO_SUBSETS = """---
configs:
- config_name: one
  data_files: one.txt
- config_name: two
  data_files: two.txt
---
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that gives the builder of the folder `data`."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)

    def builder(subset=None):
        folder = str(tmp_path / "data")
        return datasets.load_dataset_builder(folder, subset, cache_dir="cache")

    return builder


def test_a_builder_reads_other_files_than_those_it_was_made_of(load, tmp_path):
    (tmp_path / "data/train.txt").write_text("one\n")
    (tmp_path / "other.txt").write_text("a\nb\nc\n")
    builder = load()
    files = data_files_of(builder)
    assert list(files) == ["train"]
    assert files["train"][0].endswith("data/train.txt")
    tables = list(stream_tables(builder, "train", [tmp_path / "other.txt"], 2))
    assert [len(table) for table in tables] == [2, 1]
    assert tables[0].column("text").to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("subset", "words"), [("three", "BuilderConfig 'three'"), (None, "Config name")]
)
def test_a_wrong_subset_is_told_from_other_errors(load, tmp_path, subset, words):
    for name in ("one", "two"):
        (tmp_path / f"data/{name}.txt").write_text(name)
    (tmp_path / "data/README.md").write_text(TWO_SUBSETS)
    with pytest.raises(ValueError, match="one") as raised:
        load(subset)
    assert subset_problem(raised.value).startswith(words)
    assert "'two'" in subset_problem(raised.value)
    assert subset_problem(ValueError("another")) is None


def test_a_folder_without_data_is_an_error_of_its_own(load):
    with pytest.raises(NO_DATA_FILES):
        load()


def test_torch_can_be_left_out(monkeypatch):
    monkeypatch.setattr(datasets.config, "TORCH_AVAILABLE", True)
    leave_torch_out()
    assert datasets.config.TORCH_AVAILABLE is False
