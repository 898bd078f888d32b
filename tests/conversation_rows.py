"""Messages, tools and calls of which tests make rows of conversations."""

import json

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


def lines(*rows):
    """Return rows as lines of JSON."""
    return "".join(json.dumps(row) + "\n" for row in rows)
