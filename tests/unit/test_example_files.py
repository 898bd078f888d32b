"""Files of every kind with columns or messages become examples."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conversation_rows import ASKED, CALL, CALLED, FOUND, TALK, TOOL
from download_case import download_examples, refusal_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


FILES = {
    "x.csv": b"instruction,output,by\nHi,Hello,a\n",
    "x.tsv": b"by\tinstruction\tinput\toutput\na\tHi\t\tHello\n",
}


@pytest.mark.parametrize("name", FILES)
def test_columns_of_text_files_become_examples(folder, name):
    (folder / name).write_bytes(FILES[name])
    assert download_examples({"files": name, "group_column": "by"})[1] == [TALK]
    assert pq.read_table("raw/train.parquet")["group"].to_pylist() == ["a"]


def test_messages_in_a_csv_file_are_texts_of_json(folder):
    (folder / "x.csv").write_text('messages,by\n\n"[{""role"": 5}]",a\n')
    assert refusal_of("x.csv").startswith(
        "dataset.files: x.csv, line 3, messages[0].role is int"
    )
    written = json.dumps(TALK["messages"]).replace('"', '""')
    (folder / "x.csv").write_text(f'messages,by\n"{written}",a\n,b\n')
    assert download_examples("x.csv")[1] == [TALK, {"messages": []}]


def test_keys_that_arrow_fills_in_are_no_keys(folder):
    rows = [
        {
            "messages": [ASKED, {"role": "assistant", "content": "Hello"}],
            "tools": [TOOL],
            "by": 1,
        },
        {
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "it", "tool_call_id": "c1"},
                {"role": "user", "content": None},
            ],
            "tools": [{"type": "function", "function": {"name": "b", "strict": True}}],
            "by": 2,
        },
        {"messages": None, "tools": None, "by": 2},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "x.parquet")
    done, examples = download_examples({"files": "x.parquet", "group_column": "by"})
    call = {
        "type": "function",
        "function": {"name": "find", "arguments": {"what": "a"}},
    }
    assert examples == [
        {**TALK, "tools": [TOOL]},
        {
            "messages": [
                CALLED | {"tool_calls": [call], "train": False},
                FOUND | {"tool_call_id": "c1"},
                ASKED | {"content": ""},
            ],
            "tools": [{"type": "function", "function": {"name": "b", "strict": True}}],
        },
        {"messages": []},
    ]
    assert done.startswith("messages with tools: train 3 examples, ")


def test_values_that_datasets_stores_as_json_are_read(folder):
    def column(values, kind):
        return pa.array(values, pa.string()).cast(kind)

    messages = column(map(json.dumps, [ASKED, CALLED]), pa.json_())
    table = pa.table(
        {
            "messages": pa.ListArray.from_arrays([0, 2], messages),
            "tools": column([json.dumps([TOOL])], pa.json_()),
        }
    )
    pq.write_table(table, folder / "x.parquet")
    expected = {"messages": [ASKED, CALLED], "tools": [TOOL]}
    assert download_examples("x.parquet")[1] == [expected]


def test_a_wrong_value_of_parquet_is_named_with_its_row(folder):
    rows = [{"messages": [ASKED]}, {"messages": [ASKED | {"role": "narrator"}]}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "x.parquet")
    assert refusal_of("x.parquet").startswith(
        "dataset.files: x.parquet, row 2, messages[0].role is 'narrator', should be"
    )
    pq.write_table(pa.table({"messages": [5]}), folder / "x.parquet")
    assert refusal_of("x.parquet").startswith(
        "dataset.files: x.parquet, row 1, messages is int, should be a list of"
    )
