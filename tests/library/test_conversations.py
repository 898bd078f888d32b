"""Chats and instructions are called that, with a command that makes texts of them."""

import json
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from download_case import run_local
from retune.errors import RetuneError

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
PARTS = [
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
]
ANSWERED = "instructions with their answers"
ROWS = {
    "messages": ("chats", {"messages": CHAT}),
    "parts": ("chats", {"messages": PARTS, "tools": "[]"}),
    "sharegpt": ("chats", {"id": 1, "conversations": SHARED}),
    "alpaca": (
        ANSWERED,
        {"instruction": "Hi", "input": "", "output": "Hello"},
    ),
    "prompt": (
        ANSWERED,
        {"prompt": "Hi", "completion": "Hello"},
    ),
    "question": (
        ANSWERED,
        {"question": "Hi", "answer": "Hello"},
    ),
    "preference": (
        "preferences",
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
    ),
    "preferred_chats": ("preferences", {"chosen": CHAT, "rejected": CHAT}),
}

# Columns that are of the text.
TOLD = {"messages", "conversations", "chosen", "instruction", "input", "output"}
TOLD |= {"prompt", "completion", "question", "answer"}


def write(path, row):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps([row], indent=1))
    else:
        path.write_text(json.dumps(row) + "\n")


def refusal_of(file, **settings):
    with pytest.raises(RetuneError) as caught:
        run_local(file.parent / "raw", {"train": [file.name]}, **settings)
    return str(caught.value).splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("shape", ROWS)
def test_rows_of_a_conversation_are_called_that(folder, shape, ending):
    kind, row = ROWS[shape]
    write(folder / f"x{ending}", row)
    problem, sentence, command = refusal_of(folder / f"x{ending}")
    place = {".jsonl": ", line 1", ".json": ", line 2", ".parquet": ""}[ending]
    assert problem == (
        f"dataset.text_column: x{ending}{place} has no column 'text'; there are:"
        f" {', '.join(row)}"
    )
    assert sentence == (
        f"these are {kind}, which are not supported yet; this makes a text of each,"
        " which does not say who speaks, for"
        " dataset: texts.jsonl"
    )
    assert f"data_files='x{ending}'" in command
    assert f"for c in {[name for name in row if name in TOLD]})" in command


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_a_column_of_messages_that_is_taken_for_text_is_called_that(folder, ending):
    write(folder / f"x{ending}", {"messages": CHAT})
    problem, sentence, _ = refusal_of(folder / f"x{ending}", text_column="messages")
    assert problem.startswith(f"dataset.text_column: 'messages' of x{ending}")
    assert problem.endswith(", should be text")
    assert sentence.startswith("these are chats, which are not supported yet")


@pytest.mark.parametrize(
    "row",
    [{"body": "Hi"}, {"input": "a", "label": 1}, {"chosen": "a"}, {"answer": "b"}],
)
def test_other_rows_are_nothing_of_the_kind(folder, row):
    write(folder / "x.jsonl", row)
    assert len(refusal_of(folder / "x.jsonl")) == 1


def test_chats_that_have_a_column_of_text_are_read(folder):
    write(folder / "x.jsonl", {"messages": CHAT, "text": "rendered"})
    run_local(folder / "raw", {"train": ["x.jsonl"]})


@pytest.mark.parametrize("name", ["x.jsonl", 'a "b" $x `c`.jsonl'])
def test_the_command_makes_texts_of_all_of_them(folder, name, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(folder / "cache"))
    for row in (CHAT, SHARED, PARTS):
        write(folder / name, {"messages": row})
        subprocess.run(refusal_of(folder / name)[2], shell=True, check=True)
        assert json.loads((folder / "texts.jsonl").read_text()) == {"text": "Hi\nHello"}
