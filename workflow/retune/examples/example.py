"""An example: what a row with an answer means, whatever its columns were.

It is a prompt with its completion, or a conversation. The parquet files of data/raw and
data/clean hold each as one line of JSON, in the column `example`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NotRequired, Required, TypedDict

# Name of the column that holds examples; documents that are texts are in `text`.
COLUMN = "example"
BETWEEN_TURNS = "\n\n"
# Marks of what models think before they answer, where it is part of a content.
THOUGHT_BEGINS, THOUGHT_ENDS = "<think>", "</think>"


class Function(TypedDict):
    """The function that a tool call names.

    Attributes:
        name: Name of the function.
        arguments: Value of each argument.
    """

    name: str
    arguments: dict[str, Any]


class ToolCall(TypedDict, total=False):
    """A call of a tool by the assistant.

    Attributes:
        id: Name of the call, to which the tool's answer refers.
        type: Kind of tool, which is `function`.
        function: The function and its arguments.
    """

    id: str
    type: Required[str]
    function: Required[Function]


class Message(TypedDict):
    """A message of a conversation, with the keys that chat templates expect.

    Attributes:
        role: Who speaks: system, developer, user, assistant or tool.
        content: What is said.
        reasoning_content: What the assistant thought before it answered.
        tool_calls: Tools that the assistant calls.
        tool_call_id: Name of the call that a tool answers.
        name: Name of the speaker, or of the tool.
        train: Whether this message is trained; only the assistant's have it.
    """

    role: str
    content: str
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    train: NotRequired[bool]


@dataclass(frozen=True)
class Completion:
    """A prompt, and the completion that is trained; no chat template is used.

    Attributes:
        prompt: Text before the completion.
        completion: Text that is trained.
    """

    prompt: str
    completion: str

    def to_json(self) -> str:
        """Return the example as one line of JSON."""
        return as_line({"prompt": self.prompt, "completion": self.completion})

    @property
    def question(self) -> str:
        """What was asked."""
        return self.prompt

    @property
    def answer(self) -> str:
        """What is trained."""
        return self.completion

    @property
    def system(self) -> str:
        """What the system says: nothing."""
        return ""

    @property
    def num_turns(self) -> int:
        """Number of answers."""
        return 1


@dataclass(frozen=True)
class Conversation:
    """A conversation, some of whose assistant's turns are trained.

    Attributes:
        messages: The messages, in order.
        tools: JSON schemas of the tools that the assistant may call; empty if none.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> str:
        """Return the example as one line of JSON."""
        value: dict[str, Any] = {"messages": self.messages}
        return as_line(value | ({"tools": self.tools} if self.tools else {}))

    @property
    def question(self) -> str:
        """What users and tools say, and what the assistant says untrained."""
        return BETWEEN_TURNS.join(
            text
            for message in self.messages
            if message["role"] not in ("system", "developer")
            and not message.get("train")
            for text in texts_of(message)
        )

    @property
    def answer(self) -> str:
        """What the assistant says, thinks and calls in the trained turns."""
        return BETWEEN_TURNS.join(
            text
            for message in self.messages
            if message.get("train")
            for text in texts_of(message)
        )

    @property
    def system(self) -> str:
        """What the system says."""
        return BETWEEN_TURNS.join(
            message["content"]
            for message in self.messages
            if message["role"] in ("system", "developer")
        )

    @property
    def num_turns(self) -> int:
        """Number of the assistant's turns."""
        return sum(message["role"] == "assistant" for message in self.messages)


Example = Completion | Conversation


def read_example(line: str) -> Example:
    """Return the example that one line of JSON holds, as `to_json` writes it."""
    value = json.loads(line)
    if "messages" in value:
        return Conversation(tuple(value["messages"]), tuple(value.get("tools", ())))
    return Completion(value["prompt"], value["completion"])


def texts_of(message: Message) -> Iterator[str]:
    """Yield what a message holds: reasoning, content, and calls of tools as JSON."""
    if reasoning := message.get("reasoning_content"):
        yield reasoning
    if message["content"]:
        yield message["content"]
    for call in message.get("tool_calls", ()):
        yield as_line(call["function"])


def split_thought(content: str) -> tuple[str, str]:
    """Return the thought that a content of the assistant begins with, and the rest.

    A content that only speaks of the marks has no thought.
    """
    begun = content.lstrip()
    if not begun.startswith(THOUGHT_BEGINS) or THOUGHT_ENDS not in begun:
        return "", content
    thought, _, answer = begun.removeprefix(THOUGHT_BEGINS).partition(THOUGHT_ENDS)
    return thought, answer.lstrip()


def as_line(value: object) -> str:
    """Return a value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)
