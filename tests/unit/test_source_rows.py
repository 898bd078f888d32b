"""What the report and the card say of several sources."""

from dataclasses import replace

import pytest

from finished_run import PROVENANCE, FinishedRun
from retune.artifacts.origins import DataOrigin, FileEntry
from retune.artifacts.tokens_index import SourceBlocks
from retune.reporting.data_rows import answer_rows
from retune.reporting.model_card import front_matter
from retune.reporting.provenance_rows import provenance_rows
from retune.reporting.source_rows import source_rows

REVISION = "a" * 40
DATASET = {
    "sources": {
        "chats": {"source": "hub", "name": "some/chats", "revision": REVISION},
        "mine": {"files": "mine.jsonl", "trained_turns": "last"},
    }
}
ORIGIN = DataOrigin(
    source="several",
    parts={
        "chats": DataOrigin(
            source="hub", name="some/chats", revision=REVISION, row_format="messages"
        ),
        "mine": DataOrigin(
            source="local",
            row_format="instruction",
            sources={"train": (FileEntry(path="mine.jsonl", size=9, sha256="b" * 64),)},
        ),
    },
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two sources, of which an epoch reads one twice."""
    made = FinishedRun(tmp_path_factory.mktemp("run")).make(has_answers=True)
    read = made.read(dataset=DATASET, finetune={"mix": {"mine": 2}})
    sources = (
        SourceBlocks(
            name="chats", documents=30, sequences=45, blocks=9, trained_tokens=800
        ),
        SourceBlocks(
            name="mine", documents=10, sequences=10, blocks=4, trained_tokens=100
        ),
    )
    tokens = read.tokens.model_copy(update={"sources": sources})
    return replace(read, raw=ORIGIN, tokens=tokens)


def test_each_source_says_what_it_gives_and_how_often_it_is_read(run):
    assert source_rows(run) == [
        ("chats", "some/chats", "messages", "30", "800", "9", "9"),
        ("mine", "local files", "instruction", "10", "100", "4", "8"),
    ]


def test_a_single_source_has_no_table(tmp_path):
    assert source_rows(FinishedRun(tmp_path).make().read()) == []


def test_revisions_and_files_are_those_of_the_sources(run):
    rows = dict(provenance_rows(run, PROVENANCE))
    assert rows["revision of the dataset chats"] == f"some/chats at {REVISION}"
    assert rows["sha256 of mine.jsonl (mine train)"] == "b" * 64


def test_the_card_names_the_datasets_of_the_hub(run):
    assert front_matter(run).datasets == ["some/chats"]


def test_sources_may_train_other_turns(run):
    trained = dict(answer_rows(run))["trained"]
    assert "of some sources the last one alone" in trained
