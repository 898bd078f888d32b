"""What rows are is told by their columns, or the settings; never guessed."""

import json

import pytest

from download_case import (
    download_examples,
    download_texts,
    parquet,
    refusal_of,
    run_local,
)
from retune.artifacts.origins import DataOrigin
from retune.errors import RetuneError
from retune.settings.params import read_params

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
TALK = {"messages": CHAT}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def values(*columns, **more):
    return dict.fromkeys(columns, "a") | more


RECOGNIZED = {
    "text": (values("text", "title"), {}, "train 1 document, "),
    "alpaca": (values("instruction", "output"), {}, "instruction: train 1 example, "),
    "completion": (values("prompt", "completion"), {}, "completion: train 1 example, "),
    "openai": (TALK | {"prompt": "a"}, {}, "messages: train 1 example, "),
    "no tools": (TALK | {"tools": []}, {}, "messages: train 1 example, "),
    "tools": (
        TALK | {"tools": [{"name": "a"}]},
        {},
        "messages with tools: train 1 example, ",
    ),
    "a text by its column": (
        TALK | values("body"),
        {"text_column": "body"},
        "train 1 document, ",
    ),
    "a text by its format": (TALK | values("text"), {"format": "text"}, "train 1 doc"),
    "a format by a column": (
        values("prompt", "completion", "instruction", "answer"),
        {"columns": {"output": "answer"}},
        "instruction: train 1 example, ",
    ),
    "one of two conversations": (
        TALK | {"conversations": []},
        {"columns": {"messages": "messages"}},
        "messages: train 1 example, ",
    ),
}


@pytest.mark.parametrize("case", RECOGNIZED)
def test_what_rows_are_is_recognized_and_said(folder, case):
    row, settings, told = RECOGNIZED[case]
    write(folder / "x.jsonl", row)
    done = run_local(folder / "raw", {"train": ["x.jsonl"]}, **settings)
    assert done.startswith(told)


FORMAT = "dataset.format: x.jsonl, line 1"
ASK = "dataset.format: x.jsonl, line 1 fits no format; its columns: "
REFUSED = {
    "text and messages": (
        TALK | values("text"),
        {},
        f"{FORMAT} has the columns text, messages, which fit more than one format:"
        " write dataset.format: text or messages",
    ),
    "original alpaca": (
        values("instruction", "input", "output", "text"),
        {},
        f"{FORMAT} has the columns text, instruction, output, which fit more than one"
        " format: write dataset.format: text or instruction",
    ),
    "two conversations": (
        TALK | {"conversations": []},
        {},
        "dataset.columns: x.jsonl, line 1 has the columns messages and conversations:"
        " write dataset.columns: {messages: conversations}, or {messages: messages}",
    ),
    "a column of two formats": (
        values("instruction", "output", "messages", "rules"),
        {"columns": {"system": "rules"}},
        f"{FORMAT} has the columns instruction, output, messages, which fit more than",
    ),
    "preferences": (
        values("prompt", "chosen", "rejected"),
        {},
        f"{FORMAT} holds preferences (chosen, rejected), which are not trained on; to"
        " train on what was chosen alone:\ndataset.columns: {completion: chosen} for"
        " answers to the prompt, or dataset.columns: {messages: chosen} for"
        " conversations",
    ),
    "good and bad completions": (
        values("prompt", "completion", label=True),
        {},
        f"{FORMAT} has a column 'label', which format completion does not read:"
        " dataset.format: completion leaves it out",
    ),
    "pictures": (
        TALK | {"images": ["a.png"]},
        {},
        f"{FORMAT} has a column 'images', which format messages does not read:",
    ),
    "question and answer": (
        values("question", "answer"),
        {},
        f"{ASK}question, answer\nif these are questions with answers:"
        " dataset.columns: {instruction: question, output: answer}",
    ),
    "query and response": (
        values("query", "response"),
        {},
        f"{ASK}query, response\nif these are questions with answers:"
        " dataset.columns: {instruction: query, output: response}",
    ),
    "dolly": (
        values("instruction", "context", "response"),
        {},
        f"{ASK}instruction, context, response\nif these are questions with answers:"
        " dataset.columns: {output: response, input: context}",
    ),
    "a dialog": (
        {"dialog": CHAT},
        {},
        f"{ASK}dialog\nif these are conversations: dataset.columns: {{messages:"
        " dialog}",
    ),
    "other columns": (
        values("body", "title"),
        {},
        f"{ASK}body, title\nname the column of texts by dataset.text_column, or by",
    ),
    "no column": ({}, {}, f"{ASK}none\nname the column"),
    "a missing column": (
        values("instruction"),
        {"format": "instruction"},
        f"{FORMAT} has no column 'output'; there are: instruction",
    ),
    "a missing column of messages": (
        values("text"),
        {"format": "messages"},
        f"{FORMAT} has no column 'messages'; there are: text",
    ),
    "a missing named column": (
        values("instruction", "output"),
        {"columns": {"output": "answer"}},
        "dataset.columns.output: x.jsonl, line 1 has no column 'answer'; there are:"
        " instruction, output",
    ),
    "a missing named column that need not be there": (
        values("instruction", "output"),
        {"columns": {"input": "context"}},
        "dataset.columns.input: no row has a column 'context'",
    ),
    "joined rows of messages": (
        TALK,
        {"document_start": "^#"},
        "dataset.document_start: joins texts, but the rows are of the format messages",
    ),
    "trained turns of texts": (
        values("text"),
        {"trained_turns": "last"},
        "dataset.trained_turns: goes with conversations, but the rows are texts",
    ),
    "a column twice": (
        None,
        {},
        "dataset.format: x.jsonl, line 1 has 2 columns 'prompt', and which of them is",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_are_no_one_thing_are_refused(folder, case):
    row, settings, told = REFUSED[case]
    write(folder / "x.jsonl", row)
    if row is None:
        twice = '{"prompt": "a", "completion": "b", "prompt": "c"}'
        (folder / "x.jsonl").write_text(twice)
    refusal = refusal_of({"files": "x.jsonl", **settings})
    assert refusal.startswith(told)
    assert len(refusal.splitlines()) <= 2


MIXED = {
    "a completion among messages": (TALK, values("prompt", "completion"), "messages"),
    "a text among messages": (TALK, values("text"), "messages"),
    "messages among texts": (values("text"), TALK, "text"),
    "another name for messages": (TALK, {"conversations": CHAT}, "messages"),
    "no output": (values("instruction", "output"), values("instruction"), "output"),
}


@pytest.mark.parametrize("case", MIXED)
@pytest.mark.parametrize("files", ["one", "two", "splits"])
def test_rows_of_different_formats_are_refused(folder, case, files):
    first, other, missing = MIXED[case]
    write(folder / "x.jsonl", first)
    write(folder / "y.jsonl", other)
    dataset, place = ["x.jsonl", "y.jsonl"], "y.jsonl, line 1"
    if files == "one":
        write(folder / "x.jsonl", first, first, other)
        dataset, place = "x.jsonl", "x.jsonl, line 3"
    if files == "splits":
        dataset = {"files": {"train": "x.jsonl", "test": "y.jsonl"}}
    refusal = refusal_of(dataset)
    assert refusal.startswith(
        f"dataset.files: {place} has no column {missing!r}, which"
    )
    assert refusal.endswith(f"rows before it have; there are: {', '.join(other)}")


def test_a_later_row_that_fits_two_formats_is_refused(folder):
    write(folder / "x.jsonl", TALK, TALK | values("text"))
    assert refusal_of("x.jsonl").startswith(
        "dataset.format: x.jsonl, line 2 has the columns text, messages, which fit more"
    )


def test_a_later_row_may_lack_a_text_and_what_need_not_be_there(folder):
    write(folder / "x.jsonl", values("text", "by"), {"by": "b"}, values("text"))
    dataset = {"files": "x.jsonl", "group_column": "by"}
    assert download_texts(dataset)[1] == ["a", None, "a"]


def test_columns_that_only_later_rows_have_are_read(folder):
    more = values("instruction", "output", context="b", rules="c")
    write(folder / "x.jsonl", values("instruction", "output"), more)
    columns = {"input": "context", "system": "rules"}
    _, examples = download_examples({"files": "x.jsonl", "columns": columns})
    spoken = [[m["content"] for m in one["messages"]] for one in examples]
    assert spoken == [["a", "a"], ["c", "a\n\nb", "a"]]


def test_what_need_not_be_there_may_be_in_some_files_alone(folder):
    for number, row in enumerate([TALK | {"system": "a"}, TALK, TALK | {"tools": []}]):
        (folder / f"{number}.parquet").write_bytes(
            parquet(**{name: [value] for name, value in row.items() if value})
        )
    _, examples = download_examples("*.parquet")
    assert [len(one["messages"]) for one in examples] == [3, 2, 2]


@pytest.mark.parametrize(
    ("row", "row_format", "columns"),
    [
        (
            {"conversations": CHAT, "tools": [], "id": 1},
            "messages",
            {"messages": "conversations", "tools": "tools"},
        ),
        (values("text"), "text", {"text": "text"}),
    ],
)
def test_the_format_and_its_columns_are_recorded(folder, row, row_format, columns):
    write(folder / "x.jsonl", row)
    run_local(folder / "raw", {"train": ["x.jsonl"]})
    origin = DataOrigin.read_from(folder / "raw")
    assert (origin.row_format, origin.columns) == (row_format, columns)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"columns": {"answer": "a"}},
            "columns.answer: unknown key; there are: instruction, input, output,"
            " system, prompt, completion, messages, tools",
        ),
        (
            {"format": "instruction", "columns": {"messages": "a"}},
            "columns.messages: unknown key of format: instruction; there are:"
            " instruction, input, output, system",
        ),
        (
            {"columns": {"instruction": "a", "completion": "b"}},
            "columns: instruction, completion belong to more than one format",
        ),
        ({"columns": {"text": "a"}}, "columns.text: unknown key; there are: instruct"),
        (
            {"format": "text", "columns": {"output": "a"}},
            "columns do not go with format: text, but text_column does",
        ),
        (
            {"format": "messages", "text_column": "a"},
            "text_column goes with format: text, not with format: messages",
        ),
        (
            {"columns": {"output": "a"}, "document_start": "a"},
            "document_start goes with format: text, not with columns",
        ),
        (
            {"format": "completion", "txt_documents": "line"},
            "txt_documents goes with format: text, not with format: completion",
        ),
        (
            {"format": "text", "trained_turns": "last"},
            "trained_turns does not go with format: text",
        ),
        (
            {"format": "text", "fold_system": True},
            "fold_system does not go with format: text",
        ),
        ({"format": "chat"}, "format: 'chat' should be"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, problem):
    dataset = {"files": "x.jsonl", **settings}
    with pytest.raises(RetuneError) as caught:
        read_params({"dataset": dataset, "model": "gpt2"})
    (_, line) = str(caught.value).splitlines()
    assert problem in line
