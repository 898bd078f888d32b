"""`check` reads the first rows of the data by the code of `download` and `prepare`."""

import json

import pytest

from retune.checking import data
from retune.checking.data import check_data, check_prepare, is_on_hub, read_made
from retune.errors import RetuneError
from retune.examples.document_reader import read_documents
from retune.settings import DatasetSettings, PrepareSettings
from retune.steps import download

TALK = {
    "messages": [
        {"role": "user", "content": "Who is there?"},
        {"role": "assistant", "content": "It is me."},
    ]
}
TEXT = {"text": "A text that is long enough to be kept."}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands; `documents` is for what is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "documents").mkdir()
    return tmp_path


def write(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))


def check(folder, dataset):
    return check_data(DatasetSettings.model_validate(dataset), folder / "documents")


def test_a_small_file_is_read_as_download_reads_it(folder):
    write(folder / "chats.jsonl", *[TALK] * 3)
    documents, outcome = check(folder, "chats.jsonl")
    assert outcome.state == "ok"
    assert outcome.found == "chats.jsonl: messages: 3 rows"
    assert documents.are_all
    download.run(DatasetSettings.model_validate("chats.jsonl"), folder / "raw")
    assert read_documents(documents.raw).equals(read_documents(folder / "raw"))


def test_several_files_of_a_split_are_numbered_as_download_does(folder):
    for name in ("a", "b"):
        write(folder / f"{name}.jsonl", *[{"text": f"{name} and more text"}] * 2)
    files = ["a.jsonl", "b.jsonl"]
    documents, _ = check(folder, files)
    download.run(DatasetSettings.model_validate(files), folder / "raw")
    assert read_documents(documents.raw).equals(read_documents(folder / "raw"))


def test_of_a_long_file_the_first_rows_are_read(folder, monkeypatch):
    monkeypatch.setattr(data, "MOST_ROWS", 5)
    write(folder / "a.jsonl", *[TEXT] * 6, "{no JSON")
    documents, outcome = check(folder, "a.jsonl")
    assert outcome.state == "ok"
    assert outcome.found == "a.jsonl: 5 rows, the first of all"
    assert not documents.are_all


def test_every_bad_file_is_told_at_once(folder):
    write(folder / "a.jsonl", TEXT, "{no JSON")
    write(folder / "b.jsonl", TEXT)
    write(folder / "c.jsonl", {"txt": "x"})
    documents, outcome = check(folder, ["a.jsonl", "b.jsonl", "c.jsonl"])
    assert documents is None
    first, second = outcome.errors
    assert "a.jsonl, line 2 is not JSON" in first
    assert "c.jsonl" in second


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("none.jsonl", "dataset.files.train: no file matches none.jsonl"),
        ({"files": "a.jsonl", "text_column": "body"}, "dataset.text_column: a.jsonl"),
        (
            {"files": {"train": "a.jsonl", "test": "empty.jsonl"}},
            "dataset: split test holds no rows (empty.jsonl)",
        ),
        (
            {"files": "a.jsonl", "document_start": "^="},
            "dataset.document_start: '^=' matches no row",
        ),
        ({"files": "a.jsonl", "group_column": "page"}, "dataset.group_column: "),
    ],
)
def test_what_the_settings_do_not_fit_is_told(folder, dataset, told):
    write(folder / "a.jsonl", TEXT)
    write(folder / "empty.jsonl")
    documents, outcome = check(folder, dataset)
    assert documents is None
    (error,) = outcome.errors
    assert error.startswith(told)


def test_a_column_that_no_row_has_is_an_error_once_all_are_read(folder, monkeypatch):
    dataset = {
        "files": "a.jsonl",
        "format": "instruction",
        "columns": {"input": "context"},
    }
    write(folder / "a.jsonl", *[{"instruction": "Say", "output": "Yes"}] * 3)
    _, outcome = check(folder, dataset)
    assert outcome.errors == ("dataset.columns.input: no row has a column 'context'",)
    monkeypatch.setattr(data, "MOST_ROWS", 2)
    _, outcome = check(folder, dataset)
    assert outcome.state == "warning"
    assert outcome.warnings[0].endswith("'context', of those looked at")


def test_rows_that_are_joined_are_read_up_to_a_limit(folder, monkeypatch):
    write(folder / "a.jsonl", *[{"text": "= 1"}, {"text": "more"}] * 5)
    dataset = {"files": "a.jsonl", "document_start": "^="}
    documents, outcome = check(folder, dataset)
    assert documents.are_all
    assert outcome.found == "a.jsonl: 5 documents"
    monkeypatch.setattr(data, "MOST_JOINED_ROWS", 4)
    documents, outcome = check(folder, dataset)
    assert not documents.are_all
    assert outcome.state == "ok"


def test_a_start_may_come_after_the_rows_that_are_read(folder, monkeypatch):
    monkeypatch.setattr(data, "MOST_JOINED_ROWS", 2)
    write(folder / "a.jsonl", *[{"text": "more"}] * 3, {"text": "= 1"})
    documents, outcome = check(folder, {"files": "a.jsonl", "document_start": "^="})
    assert outcome.errors == ()


@pytest.mark.parametrize(
    ("settings", "found"),
    [({}, "a.jsonl: 3 rows"), ({"document_start": "^A"}, "a.jsonl: 2 documents")],
)
def test_of_long_rows_the_first_bytes_are_read(folder, monkeypatch, settings, found):
    monkeypatch.setattr(data, "MOST_BYTES", 2 * len(TEXT["text"]) + 1)
    write(folder / "a.jsonl", *[TEXT] * 4, "{no JSON")
    documents, outcome = check(folder, {"files": "a.jsonl", **settings})
    assert outcome.found == f"{found}, the first of all"
    assert not documents.are_all


def test_each_file_has_its_share_of_the_bytes(folder, monkeypatch):
    monkeypatch.setattr(data, "MOST_BYTES", 3)
    write(folder / "a.jsonl", *[TEXT] * 3)
    write(folder / "b.jsonl", *[TEXT] * 2, "{no JSON")
    write(folder / "c.jsonl", "{no JSON")
    _, outcome = check(folder, ["a.jsonl", "b.jsonl", "c.jsonl"])
    (error,) = outcome.errors
    assert error.startswith("dataset.files: c.jsonl, line 1 is not JSON")


def test_of_several_texts_the_first_bytes_are_read(folder, monkeypatch):
    monkeypatch.setattr(data, "MOST_BYTES", 5)
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("A long text.")
    documents, outcome = check(folder, ["a.txt", "b.txt"])
    assert outcome.found == "2 files: 1 row, the first of all"
    assert not documents.are_all


def test_of_long_rows_that_download_has_made_the_first_are_read(folder, monkeypatch):
    write(folder / "a.jsonl", *[{"text": f"text {number}"} for number in range(50)])
    download.run(DatasetSettings.model_validate("a.jsonl"), folder / "raw")
    monkeypatch.setattr(data, "MOST_BYTES", 10)
    documents, _ = read_made(folder / "raw", folder / "documents")
    assert not documents.are_all
    assert len(read_documents(documents.raw)) == data.ROWS_AT_ONCE


def test_a_large_text_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(data, "LARGEST_DOCUMENT", 5)
    (folder / "a.txt").write_text("A long text.")
    documents, outcome = check(folder, "a.txt")
    assert (documents, outcome.errors) == (None, ())


def test_what_the_hub_has_is_not_looked_at(folder):
    documents, outcome = check(folder, "wikitext")
    assert documents is None
    assert outcome.state == "not checked"
    assert "Salesforce/wikitext at b08601e0" in outcome.found


def test_of_what_download_has_made_the_first_documents_are_read(folder, monkeypatch):
    write(folder / "a.jsonl", *[{"text": f"text {number}"} for number in range(4)])
    download.run(DatasetSettings.model_validate("a.jsonl"), folder / "raw")
    documents, outcome = read_made(folder / "raw", folder / "documents")
    assert documents.are_all
    assert outcome.found.endswith("raw: 4 documents")
    assert read_documents(documents.raw).equals(read_documents(folder / "raw"))
    monkeypatch.setattr(data, "MOST_ROWS", 3)
    documents, outcome = read_made(folder / "raw", empty(folder / "again"))
    assert not documents.are_all
    assert len(read_documents(documents.raw)) == 3
    (folder / "raw/train.parquet").write_text("damaged")
    with pytest.raises(RetuneError):
        read_made(folder / "raw", empty(folder / "third"))


@pytest.mark.parametrize(
    ("dataset", "is_there"),
    [
        ("wikitext", True),
        ("builtin", False),
        ({"source": "several", "sources": {"a": "wikitext", "b": "builtin"}}, True),
        ({"source": "several", "sources": {"a": "builtin"}}, False),
    ],
)
def test_a_source_on_the_hub_is_known(dataset, is_there):
    assert is_on_hub(DatasetSettings.model_validate(dataset)) == is_there


def test_each_source_is_looked_at_and_named(folder):
    write(folder / "a.jsonl", TEXT, "{no JSON")
    write(folder / "b.jsonl", TEXT)
    sources = {"mine": "a.jsonl", "good": "b.jsonl", "far": "wikitext"}
    dataset = {"source": "several", "sources": sources}
    _, outcome = check(folder, dataset)
    (error,) = outcome.errors
    assert error.startswith("dataset.sources.mine.files: a.jsonl, line 2")
    write(folder / "a.jsonl", TEXT)
    documents, outcome = check_data(
        DatasetSettings.model_validate(dataset), empty(folder / "again")
    )
    assert outcome.state == "not checked"
    assert not documents.are_all
    assert set(read_documents(documents.raw)["source"]) == {"mine", "good"}


def empty(folder):
    folder.mkdir()
    return folder


def test_sources_of_two_kinds_do_not_go_together(folder):
    write(folder / "a.jsonl", TEXT)
    write(folder / "b.jsonl", TALK)
    sources = {"one": "a.jsonl", "two": "b.jsonl"}
    _, outcome = check(folder, {"source": "several", "sources": sources})
    (error,) = outcome.errors
    assert error.startswith("dataset.sources: all must hold texts, or all examples")


def test_rows_that_prepare_would_reject_are_counted(folder, monkeypatch):
    write(folder / "a.jsonl", *[TEXT] * 9, {"text": "short"})
    documents, _ = check(folder, "a.jsonl")
    outcome = check_prepare(PrepareSettings(max_rejected_share=0.2), documents)
    assert (outcome.state, outcome.found) == ("ok", "1 of 10 looked at are rejected")
    outcome = check_prepare(PrepareSettings(), documents)
    (error,) = outcome.errors
    assert error.startswith("prepare.max_rejected_share: 0.05, but 1 of 10 documents")
    assert "text_too_short" in error
    monkeypatch.setattr(data, "MOST_ROWS", 5)
    write(folder / "a.jsonl", *[{"text": "short"}] * 9)
    documents, _ = check_data(
        DatasetSettings.model_validate("a.jsonl"), empty(folder / "again")
    )
    assert check_prepare(PrepareSettings(), documents).state == "warning"


def test_without_documents_nothing_is_rejected(folder):
    assert check_prepare(PrepareSettings(), None).state == "not checked"
    assert check_prepare(None, None).state == "not checked"
