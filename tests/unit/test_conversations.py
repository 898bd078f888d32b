"""Rows of every format become examples."""

import json

import pytest

from conversation_rows import (
    ANSWERED,
    ASKED,
    CALL,
    CALLED,
    FOUND,
    SCHEMA,
    SILENT,
    SYSTEM,
    TALK,
    TOOL,
    lines,
)
from download_case import download_examples


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
