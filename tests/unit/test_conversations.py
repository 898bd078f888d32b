"""Rows of every format become examples, or the value that does not fit is named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from download_case import download_examples, refusal_of

ASKED = {"role": "user", "content": "Hi"}
ANSWERED = {"role": "assistant", "content": "Hello", "train": True}
SILENT = ANSWERED | {"train": False}
SYSTEM = {"role": "system", "content": "Be kind."}
CALL = {
    "type": "function",
    "function": {"name": "find", "arguments": {"what": "a", "limit": None}},
}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL], "train": True}
FOUND = {"role": "tool", "content": "it"}
SCHEMA = {"name": "find", "description": "Finds", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": SCHEMA}
TALK = {"messages": [ASKED, ANSWERED]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def says(message, **more):
    return {"role": "assistant", **message, **more}


GOOD = {
    "alpaca": (
        {"instruction": "Hi", "output": "Hello"},
        {},
        TALK,
    ),
    "alpaca with an input": (
        {"instruction": "Hi", "input": "you", "output": "Hello"},
        {},
        {"messages": [ASKED | {"content": "Hi\n\nyou"}, ANSWERED]},
    ),
    "alpaca with a blank input": (
        {"instruction": "Hi", "input": " \n", "output": "Hello"},
        {},
        TALK,
    ),
    "alpaca with a system message": (
        {"instruction": "Hi", "output": "Hello", "system": "Be kind."},
        {},
        {"messages": [SYSTEM, ASKED, ANSWERED]},
    ),
    "alpaca with its system message folded": (
        {"instruction": "Hi", "output": "Hello", "system": "Be kind."},
        {"fold_system": True},
        {"messages": [ASKED | {"content": "Be kind.\n\nHi"}, ANSWERED]},
    ),
    "alpaca without an answer": (
        {"instruction": "Hi", "input": None, "output": None},
        {},
        {"messages": [ASKED, ANSWERED | {"content": ""}]},
    ),
    "alpaca under other names": (
        {"question": "Hi", "answer": "Hello"},
        {"columns": {"instruction": "question", "output": "answer"}},
        TALK,
    ),
    "one column under another name": (
        {"instruction": "Hi", "context": "you", "response": "Hello"},
        {"columns": {"input": "context", "output": "response"}},
        {"messages": [ASKED | {"content": "Hi\n\nyou"}, ANSWERED]},
    ),
    "completion": (
        {"prompt": "2 + 2 =", "completion": " 4"},
        {},
        {"prompt": "2 + 2 =", "completion": " 4"},
    ),
    "completion of nothing": (
        {"prompt": None, "completion": ""},
        {},
        {"prompt": "", "completion": ""},
    ),
    "completion of messages": (
        {"prompt": [ASKED, says({"content": "Hm?"}), ASKED], "completion": [ANSWERED]},
        {},
        {"messages": [ASKED, SILENT | {"content": "Hm?"}, ASKED, ANSWERED]},
    ),
    "what was chosen of a preference": (
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"columns": {"completion": "chosen"}},
        {"prompt": "Hi", "completion": "Hello"},
    ),
    "openai": ({"messages": [ASKED, says({"content": "Hello"})]}, {}, TALK),
    "sharegpt": (
        {
            "conversations": [
                {"from": "system", "value": "Be kind."},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello"},
            ]
        },
        {},
        {"messages": [SYSTEM, ASKED, ANSWERED]},
    ),
    "sharegpt with calls": (
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "function_call", "value": json.dumps(CALL["function"])},
                {"from": "observation", "value": "it"},
                {"from": "gpt", "value": "Hello"},
            ],
            "tools": json.dumps([SCHEMA]),
        },
        {},
        {"messages": [ASKED, CALLED, FOUND, ANSWERED], "tools": [TOOL]},
    ),
    "sharegpt with two calls at once": (
        {
            "conversations": [
                {"from": "function_call", "value": json.dumps([CALL["function"]] * 2)}
            ]
        },
        {},
        {"messages": [CALLED | {"tool_calls": [CALL, CALL]}]},
    ),
    "a column of the system message": (
        {"conversations": [{"from": "human", "value": "Hi"}], "system": "Be kind."},
        {},
        {"messages": [SYSTEM, ASKED]},
    ),
    "the same system message twice": (
        {"messages": [SYSTEM, ASKED], "system": "Be kind."},
        {},
        {"messages": [SYSTEM, ASKED]},
    ),
    "calls with arguments as text": (
        {
            "messages": [
                says(
                    {
                        "content": None,
                        "tool_calls": [
                            {
                                "id": "c1",
                                "index": 0,
                                "function": {
                                    "name": "find",
                                    "arguments": json.dumps(
                                        CALL["function"]["arguments"]
                                    ),
                                },
                            }
                        ],
                    }
                ),
                {"role": "tool", "tool_call_id": "c1", "name": "find", "content": "it"},
            ]
        },
        {},
        {
            "messages": [
                CALLED | {"tool_calls": [CALL | {"id": "c1"}]},
                FOUND | {"tool_call_id": "c1", "name": "find"},
            ]
        },
    ),
    "calls with arguments as an object": (
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        {},
        {"messages": [CALLED]},
    ),
    "a call without arguments": (
        {"messages": [{"role": "assistant", "tool_calls": [{"name": "now"}]}]},
        {},
        {
            "messages": [
                CALLED
                | {
                    "tool_calls": [
                        {
                            "type": "function",
                            "function": {"name": "now", "arguments": {}},
                        }
                    ]
                }
            ]
        },
    ),
    "a call as OpenAI wrote it at first": (
        {
            "messages": [
                says({"content": None, "function_call": CALL["function"]}),
                {"role": "function", "name": "find", "content": "it"},
            ]
        },
        {},
        {"messages": [CALLED, FOUND | {"name": "find"}]},
    ),
    "parts of text": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "value": "Hel"},
                        {"type": "text", "text": "lo"},
                    ],
                },
            ]
        },
        {},
        TALK,
    ),
    "parts of other kinds": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "reasoning", "value": "Hm."},
                        {"type": "text", "value": "Look:"},
                        {"type": "tool_call", "value": json.dumps(CALL["function"])},
                    ],
                },
                {"role": "tool", "content": [{"type": "tool_result", "value": "it"}]},
            ]
        },
        {},
        {
            "messages": [
                CALLED | {"content": "Look:", "reasoning_content": "Hm."},
                FOUND,
            ]
        },
    ),
    "reasoning beside the content": (
        {"messages": [says(ANSWERED, thinking="Hm.", reasoning_content=None)]},
        {},
        {"messages": [ANSWERED | {"reasoning_content": "Hm."}]},
    ),
    "reasoning within the content": (
        {"messages": [says({"content": "<think>Hm.</think>Hello"})]},
        {},
        {"messages": [ANSWERED | {"content": "<think>Hm.</think>Hello"}]},
    ),
    "turns that are not to be trained": (
        {
            "messages": [
                says({"content": "a"}, train=False),
                says({"content": "b"}, weight=0),
                says({"content": "c"}, loss_weight=0.0),
                says({"content": "d"}, train=True, weight=1, loss_weight=None),
                ASKED | {"weight": 0},
            ]
        },
        {},
        {
            "messages": [
                SILENT | {"content": "a"},
                SILENT | {"content": "b"},
                SILENT | {"content": "c"},
                ANSWERED | {"content": "d"},
                ASKED,
            ]
        },
    ),
    "the last turn": (
        {"messages": [ASKED, ANSWERED, ASKED, ANSWERED, ASKED]},
        {"trained_turns": "last"},
        {"messages": [ASKED, SILENT, ASKED, ANSWERED, ASKED]},
    ),
    "a last turn that is not to be trained": (
        {"messages": [ANSWERED, says(ANSWERED, weight=0)]},
        {"trained_turns": "last"},
        {"messages": [SILENT, SILENT]},
    ),
    "a system message folded": (
        {"messages": [SYSTEM, ANSWERED, ASKED, SYSTEM, ASKED]},
        {"fold_system": True},
        {
            "messages": [
                ANSWERED,
                ASKED | {"content": "Be kind.\n\nHi"},
                SYSTEM,
                ASKED,
            ]
        },
    ),
    "reasoning dropped": (
        {
            "messages": [
                ASKED | {"content": "What is <think>a</think>?"},
                says(ANSWERED, reasoning_content="So."),
                ASKED,
                ANSWERED | {"content": "<think>\nSo.\n</think>\n\nHello"},
            ]
        },
        {"reasoning": "drop"},
        {
            "messages": [
                ASKED | {"content": "What is <think>a</think>?"},
                ANSWERED,
                ASKED,
                ANSWERED,
            ]
        },
    ),
    "an assistant who speaks before the user": (
        {"messages": [ANSWERED, ASKED, ANSWERED]},
        {},
        {"messages": [SILENT, ASKED, ANSWERED]},
    ),
    "marks of a thought that are only spoken of": (
        {"messages": [ASKED, ANSWERED | {"content": "Write </think> at its end."}]},
        {"reasoning": "drop"},
        {"messages": [ASKED, ANSWERED | {"content": "Write </think> at its end."}]},
    ),
    "a system message alone": (
        {"messages": [SYSTEM]},
        {"fold_system": True},
        {"messages": [SYSTEM]},
    ),
    "names of roles": (
        {
            "messages": [
                {"role": "Human", "content": "Hi"},
                {"from": "bot", "value": ""},
            ]
        },
        {},
        {"messages": [ASKED, ANSWERED | {"content": ""}]},
    ),
    "keys that say nothing of the text": (
        {"messages": [ASKED | {"id": 5, "images": [], "audio": None}], "id": 7},
        {},
        {"messages": [ASKED]},
    ),
    "no messages": ({"messages": None}, {}, {"messages": []}),
    "an empty list of messages": ({"messages": []}, {}, {"messages": []}),
    "null as content": (
        {"messages": [{"role": "assistant", "content": None}]},
        {},
        {"messages": [ANSWERED | {"content": ""}]},
    ),
    "messages as a text of JSON": (
        {"messages": json.dumps([ASKED, ANSWERED]), "tools": ""},
        {},
        TALK,
    ),
    "tools as texts": (
        {**TALK, "tools": [json.dumps(SCHEMA)]},
        {},
        {**TALK, "tools": [TOOL]},
    ),
    "tools with and without a type": (
        {**TALK, "tools": [TOOL, {"type": "function", **SCHEMA}, {"function": SCHEMA}]},
        {},
        {**TALK, "tools": [TOOL, TOOL, TOOL]},
    ),
    "no tools": ({**TALK, "tools": []}, {}, TALK),
    "messages under another name": (
        {"dialog": [ASKED, ANSWERED], "functions": "[]"},
        {"columns": {"messages": "dialog", "tools": "functions"}},
        TALK,
    ),
    "a format that is named among two": (
        {**TALK, "text": "rendered"},
        {"format": "messages"},
        TALK,
    ),
    "columns that are named among two formats": (
        {**TALK, "text": "rendered"},
        {"columns": {"messages": "messages"}},
        TALK,
    ),
    "a column that is left out": (
        {"instruction": "Hi", "output": "Hello", "history": [["a", "b"]]},
        {"format": "instruction"},
        TALK,
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_row_becomes_an_example(folder, case):
    row, settings, example = GOOD[case]
    (folder / "x.jsonl").write_text(lines(row, row))
    (folder / "x.json").write_text(json.dumps([row], indent=1))
    dataset = {"files": ["x.jsonl", "x.json"], **settings}
    assert download_examples(dataset)[1] == [example] * 3


def message(**message):
    return {"messages": [ASKED, message]}


def reply(**more):
    return message(role="assistant", **more)


def call(**function):
    return reply(tool_calls=[{"type": "function", "function": function}])


ROLES = "system, developer, user, human, assistant, gpt"
BAD = {
    "content of another type": (
        reply(content=5),
        "messages[1].content is int, should be text or a list of parts",
    ),
    "an object as content": (
        reply(content={"a": 1}),
        "messages[1].content is object, should be text or a list of parts",
    ),
    "no content": (reply(), "messages[1] has no content; its keys: role"),
    "no content and no calls": (reply(tool_calls=[]), "messages[1] has no content"),
    "no role": (
        message(content="a"),
        "messages[1] has no role (or from); its keys: co",
    ),
    "an unknown role": (
        message(role="narrator", content="a"),
        f"messages[1].role is 'narrator', should be one of {ROLES}",
    ),
    "an unknown speaker": (
        message(**{"from": "narrator", "value": "a"}),
        "messages[1].from is 'narrator', should be one of",
    ),
    "a role of another type": (
        message(role=1, content="a"),
        "messages[1].role is int, should be the name of a role",
    ),
    "a message that is none": (
        {"messages": [ASKED, "Hello"]},
        "messages[1] is text, should be an object with role and content",
    ),
    "a message of null": (
        {"messages": [None]},
        "messages[0] is null, should be an obj",
    ),
    "messages that are no list": (
        {"messages": {"role": "user"}},
        "messages is object, should be a list of messages, or a text of JSON that is",
    ),
    "messages that are text": (
        {"messages": "Hello"},
        "messages is a text that is not JSON (Expecting value: line 1 column 1 (char 0",
    ),
    "a picture": (
        message(role="user", content=[{"type": "image_url", "image_url": "a"}]),
        "messages[1].content[0].type is 'image_url', should be text, reasoning, tool_c",
    ),
    "a part without a type": (
        message(role="user", content=[{"text": "a"}]),
        "messages[1].content[0] has no type; its keys: text",
    ),
    "a part without a text": (
        message(role="user", content=[{"type": "text"}]),
        "messages[1].content[0] has no text; its keys: type",
    ),
    "a part of another type": (
        message(role="user", content=[{"type": "text", "text": 5}]),
        "messages[1].content[0].text is int, should be text",
    ),
    "a bare text as a part": (
        message(role="user", content=["a"]),
        "messages[1].content[0] is text, should be a part with type and text",
    ),
    "pictures beside the content": (
        message(role="user", content="<image>", images=["a.png"]),
        "messages[1].images says more than the text, and is not trained on",
    ),
    "a refusal beside the content": (
        reply(content=None, refusal="I can't."),
        "messages[1].refusal says more than the text",
    ),
    "arguments that are no JSON": (
        call(name="find", arguments="{a}"),
        "messages[1].tool_calls[0].function.arguments is a text that is not JSON",
    ),
    "arguments that are no object": (
        call(name="find", arguments="[1]"),
        "messages[1].tool_calls[0].function.arguments is array, should be an object",
    ),
    "arguments of another type": (
        call(name="find", arguments=5),
        "messages[1].tool_calls[0].function.arguments is int, should be an object",
    ),
    "a call without a name": (
        call(arguments={}),
        "messages[1].tool_calls[0].function.name is null, should be the name of a func",
    ),
    "a call of something else": (
        reply(tool_calls=[{"type": "custom", "custom": {}}]),
        "messages[1].tool_calls[0].type is 'custom', should be 'function'",
    ),
    "calls that are no list": (
        reply(tool_calls=CALL),
        "messages[1].tool_calls is object, should be a list of calls",
    ),
    "calls of the user": (
        message(role="user", content="a", tool_calls=[CALL]),
        "messages[1] has tool calls and the role 'user', should be assistant",
    ),
    "calls written in two ways": (
        reply(tool_calls=[CALL], function_call=CALL["function"]),
        "messages[1] has both tool_calls and function_call",
    ),
    "a call of ShareGPT that is no JSON": (
        {"conversations": [{"from": "function_call", "value": "find(a)"}]},
        "conversations[0].value is a text that is not JSON",
    ),
    "half a weight": (
        reply(content="a", weight=0.5),
        "messages[1].weight is 0.5, should be 0 or 1",
    ),
    "a word for yes": (
        reply(content="a", train="yes"),
        "messages[1].train is text, should be true or false",
    ),
    "reasoning of another type": (
        reply(content="a", reasoning={"a": 1}),
        "messages[1].reasoning is object, should be text",
    ),
    "tools that are no list": (
        {**TALK, "tools": {"name": "a"}},
        "tools is object, should be a list of tools, or a text of JSON that is one",
    ),
    "tools that are no JSON": (
        {**TALK, "tools": "find"},
        "tools is a text that is not JSON",
    ),
    "a tool without a name": (
        {**TALK, "tools": [{"description": "a"}]},
        "tools[0].name is null, should be the name of a function",
    ),
    "a tool whose function has no name": (
        {**TALK, "tools": [TOOL, {"type": "function", "function": {}}]},
        "tools[1].function.name is null, should be the name of a function",
    ),
    "another system message": (
        {"messages": [SYSTEM, ASKED], "system": "Be rude."},
        "system and the first of messages are two system messages: keep one",
    ),
    "a system message of another type": (
        {**TALK, "system": 5},
        "system is int, should be text",
    ),
    "an instruction of another type": (
        {"instruction": 5, "output": "a"},
        "instruction is int, should be text",
    ),
    "an output of another type": (
        {"instruction": "a", "output": ["b"]},
        "output is array, should be text",
    ),
    "an input of another type": (
        {"instruction": "a", "input": {}, "output": "b"},
        "input is object, should be text",
    ),
    "a prompt of another type": (
        {"prompt": 5, "completion": "a"},
        "prompt is int, should be text",
    ),
    "a text with messages": (
        {"prompt": "a", "completion": [ANSWERED]},
        "prompt is text and completion a list of messages, should both be texts or bo",
    ),
    "messages with a text": (
        {"prompt": [ASKED], "completion": "a"},
        "completion is text and prompt a list of messages, should both be texts or",
    ),
    "half a surrogate pair": (
        reply(content="a\ud83d"),
        "messages[1].content holds half of a surrogate pair, '\\ud83d': no text can",
    ),
    "half a surrogate pair in arguments": (
        call(name="find", arguments={"a": [{"b": "\udc00"}]}),
        "messages[1].tool_calls[0].function.arguments.a[0].b holds half of a surrogate",
    ),
    "half a surrogate pair in a key of a tool": (
        {**TALK, "tools": [{"name": "a", "parameters": {"\udc00": 1}}]},
        "tools[0].parameters holds half of a surrogate pair",
    ),
    "half a surrogate pair in a text of JSON": (
        {**TALK, "tools": json.dumps([{"name": "\udc00"}])},
        "messages holds half of a surrogate pair",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_value_that_does_not_fit_is_named_with_its_place(folder, case):
    row, problem = BAD[case]
    # The row before it is of the same format, and right.
    fine = {key: None for key in row}
    (folder / "x.jsonl").write_text(lines(fine, row))
    refusal = refusal_of("x.jsonl")
    assert refusal.startswith(f"dataset.files: x.jsonl, line 2, {problem}")
    assert len(refusal.splitlines()) == 1


def test_a_key_that_a_message_has_twice_is_refused(folder):
    content = '{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    (folder / "x.jsonl").write_text(content)
    assert refusal_of("x.jsonl") == (
        "dataset.files: x.jsonl, line 1, messages[0] has the key 'content' twice, and"
        " which is meant is unknown"
    )


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
