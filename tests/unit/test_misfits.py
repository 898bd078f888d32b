"""A value of a conversation that does not fit is named with its place."""

import json

import pytest

from conversation_rows import ANSWERED, ASKED, CALL, SYSTEM, TALK, TOOL, lines
from download_case import refusal_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
