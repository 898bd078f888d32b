"""The step `download` joins several sources, each with a format of its own."""

import json
from pathlib import Path

import polars as pl
import pytest

from download_case import refusal_of
from retune.artifacts.origins import DataOrigin
from retune.errors import RetuneError, Stopped
from retune.settings import DatasetSettings
from retune.settings.params import read_params
from retune.sources.errors_of_source import errors_of_source
from retune.sources.local_sources import find_local_sources
from retune.steps import download


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """Small files of several formats in the current folder."""
    monkeypatch.chdir(tmp_path)
    chats = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Hi."},
    ]
    Path("chats.jsonl").write_text(json.dumps({"messages": chats}))
    Path("asked.csv").write_text("question,output,by\nWhy?,So.,7\nHow?,Thus.,\n")
    Path("one.jsonl").write_text('{"text": "one, two"}\n{"text": null}\n')
    Path("two.txt").write_text("three")
    Path("held.txt").write_text("four")


ASKED = {
    "files": "asked.csv",
    "columns": {"instruction": "question"},
    "group_column": "by",
}


def run(**sources):
    """Return what `download` says of sources; it writes to ./raw."""
    settings = DatasetSettings.model_validate({"sources": sources})
    return download.run(settings, Path("raw"))


def test_texts_of_two_sources_are_one_split_with_their_names():
    line = run(
        b="one.jsonl", a={"files": {"train": "two.txt", "validation": "held.txt"}}
    )
    train = pl.read_parquet("raw/train.parquet")
    assert train.columns == ["id", "group", "text", "source"]
    assert train.rows() == [
        ("b/train-000000000", "b/train-000000000", "one, two", "b"),
        ("b/train-000000001", "b/train-000000001", None, "b"),
        ("a/train-000000000", "a/train-000000000", "three", "a"),
    ]
    validation = pl.read_parquet("raw/validation.parquet")
    assert validation["id"].to_list() == ["a/validation-000000000"]
    assert line.startswith("b: train 2 documents, ")
    assert "; a: train 1, validation 1 documents, " in line
    assert sorted(path.name for path in Path("raw").iterdir()) == [
        *("manifest.json", "train.parquet", "validation.parquet"),
    ]


def test_examples_of_different_formats_and_columns_are_joined():
    line = run(asked=ASKED, chats="chats.jsonl")
    train = pl.read_parquet("raw/train.parquet")
    assert train.columns == ["id", "group", "example", "source"]
    assert train["source"].to_list() == ["asked", "asked", "chats"]
    assert train["group"].to_list()[0] == "asked/7"
    says = [json.loads(line)["messages"][-1]["content"] for line in train["example"]]
    assert says == ["So.", "Thus.", "Hi."]
    assert line.startswith("asked: instruction: train 2 examples")
    assert "; chats: messages: train 1 example, " in line


def test_the_origin_of_each_source_is_recorded():
    run(asked=ASKED, chats="chats.jsonl")
    origin = DataOrigin.read_from(Path("raw"))
    assert origin.source == "several"
    formats = {name: part.row_format for name, part in origin.parts.items()}
    assert formats == {"asked": "instruction", "chats": "messages"}
    assert origin.parts["asked"].sources["train"][0].path == "asked.csv"


def test_the_same_sources_give_the_same_bytes():
    run(asked=ASKED, chats="chats.jsonl")
    first = Path("raw/manifest.json").read_bytes()
    run(asked=ASKED, chats="chats.jsonl")
    assert Path("raw/manifest.json").read_bytes() == first


@pytest.mark.parametrize(
    ("sources", "refusal"),
    [
        (
            {"a": "chats.jsonl", "b": "one.jsonl", "c": "two.txt"},
            "dataset.sources: all must hold texts, or all examples with an answer;"
            " texts are in b, examples in a",
        ),
        (
            {"a": {**ASKED, "columns": {"instruction": "quest"}}},
            "dataset.sources.a.columns.instruction: asked.csv has no column 'quest'",
        ),
        (
            {"a": {"files": "one.jsonl", "text_column": "body"}},
            "dataset.sources.a.text_column: one.jsonl, line 1 has no column 'body'",
        ),
        ({"a": "no.jsonl"}, "dataset.sources.a.files.train: no file matches no.jsonl"),
    ],
)
def test_what_is_wrong_with_a_source_is_told_by_its_name(sources, refusal):
    assert refusal_of({"sources": sources}).startswith(refusal)


def test_the_files_of_all_sources_are_the_users():
    values = {"sources": {"a": "one.jsonl", "b": "builtin", "c": ["two.txt"]}}
    params = read_params({"dataset": values, "model": "builtin"})
    assert find_local_sources(params)["dataset"] == ["one.jsonl", "two.txt"]
    Path("two.txt").unlink()
    with pytest.raises(RetuneError, match=r"^dataset\.sources\.c\.files\.train: no fi"):
        find_local_sources(params)


def test_an_error_of_a_source_stays_what_it_is():
    with pytest.raises(Stopped) as caught, errors_of_source("a"):
        raise Stopped("dataset.revision: gone; dataset: my.dataset.json", 130)
    assert caught.value.exit_code == 130
    assert str(caught.value) == (
        "dataset.sources.a.revision: gone; dataset.sources.a: my.dataset.json"
    )
