"""Calls of tools by the assistant, and the schemas of the tools."""

from collections.abc import Mapping
from typing import Any

from retune.examples.example import ToolCall
from retune.examples.misfits import (
    Misfit,
    list_at,
    object_at,
    parsed_json,
    text_in,
    wrong_type,
)

A_CALL = "an object with name and arguments"
A_TOOL = "an object with the name of a function"


def calls_in(value: object, path: str) -> list[ToolCall]:
    """Return the calls that a list holds, or none where it is null."""
    if value is None:
        return []
    calls = list_at(value, path, "a list of calls")
    return [call_of(call, f"{path}[{number}]") for number, call in enumerate(calls)]


def spoken_calls(value: object, path: str) -> list[ToolCall]:
    """Return the calls that the content of a message is: one, or a list of them.

    Args:
        value: The content, which may be a text of JSON.
        path: Place of the content in the row.

    Raises:
        Misfit: If it is no call.
    """
    if isinstance(value, str):
        value = parsed_json(value, path, A_CALL)
    if isinstance(value, list):
        return calls_in(value, path)
    return [call_of(value, path)]


def call_of(value: object, path: str) -> ToolCall:
    """Return a call as chat templates expect it, its arguments as an object.

    Args:
        value: OpenAI's `{id, type, function}`, or its `{name, arguments}` alone.
        path: Place of the call in the row.

    Raises:
        Misfit: If it is no call of a function, or its arguments are no object.
    """
    written = object_at(value, path, A_CALL)
    kind = written.get("type")
    if kind not in (None, "function"):
        raise Misfit(f"{path}.type", f"is {kind!r}, should be 'function'")
    function, function_path = written, path
    if written.get("function") is not None:
        function_path = f"{path}.function"
        function = object_at(written["function"], function_path, A_CALL)
    name = function.get("name")
    if not isinstance(name, str):
        raise wrong_type(name, f"{function_path}.name", "the name of a function")
    arguments = arguments_of(function.get("arguments"), f"{function_path}.arguments")
    call: ToolCall = {
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    if call_id := text_in(written, "id", path):
        call["id"] = call_id
    return call


def arguments_of(value: object, path: str) -> dict[str, Any]:
    """Return the arguments of a call, which may be a text of JSON; none if null."""
    right = "an object, or a text of JSON that is one"
    if value is None:
        return {}
    if isinstance(value, str):
        value = parsed_json(value, path, right)
    return dict(object_at(value, path, right))


def tools_of(value: object, path: str) -> tuple[dict[str, Any], ...]:
    """Return the schemas of the tools of a row; none where it is null or blank.

    Args:
        value: A list of schemas, or a text of JSON that is one.
        path: Place of the list in the row.

    Raises:
        Misfit: If it is no list of schemas of functions.
    """
    right = "a list of tools, or a text of JSON that is one"
    if isinstance(value, str):
        value = parsed_json(value, path, right) if value.strip() else None
    if value is None:
        return ()
    tools = list_at(value, path, right)
    return tuple(
        tool_of(tool, f"{path}[{number}]") for number, tool in enumerate(tools)
    )


def tool_of(value: object, path: str) -> dict[str, Any]:
    """Return the schema of a tool as OpenAI writes it: {type, function}.

    A bare schema of a function is wrapped into that.
    """
    if isinstance(value, str):
        value = parsed_json(value, path, A_TOOL)
    tool = object_at(value, path, A_TOOL)
    kind = tool.get("type")
    if kind not in (None, "function"):
        raise Misfit(f"{path}.type", f"is {kind!r}, should be 'function'")
    if "function" not in tool:
        function = {key: part for key, part in tool.items() if key != "type"}
        return {"type": "function", "function": checked_function(function, path)}
    function_path = f"{path}.function"
    checked_function(object_at(tool["function"], function_path, A_TOOL), function_path)
    return {**tool, "type": "function"}


def checked_function(function: Mapping[str, object], path: str) -> Mapping[str, object]:
    """Return the schema of a function if it says the function's name."""
    if not isinstance(function.get("name"), str):
        raise wrong_type(function.get("name"), f"{path}.name", "the name of a function")
    return function
