"""Whether a rendered conversation holds all that its messages say."""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from retune.chat.refusal import ConversationError
from retune.examples.example import Message, ToolCall, as_line, split_thought

# How a template writes a content that is a list of parts if it takes only strings.
DUMPED_PART = re.compile(r"""\{\s*(["'])type\1\s*:\s*\1text\1""")


class Rendered:
    """A text that a template wrote, in which white space does not count.

    Most templates write what is said as it is; that is found without a look at blanks.
    """

    def __init__(self, text: str) -> None:
        """Take the text."""
        self._text = text

    def holds(self, said: str) -> bool:
        """Return whether the text holds what is said."""
        return said.strip() in self._text or without_blanks(said) in self._packed

    def count(self, said: str) -> int:
        """Return how often the text holds what is said."""
        return self._packed.count(without_blanks(said))

    def holds_or_quotes(self, said: str) -> bool:
        """Return whether the text holds what is said, perhaps as JSON."""
        return self.holds(said) or any(
            self.holds(json.dumps(said, ensure_ascii=ascii)[1:-1])
            for ascii in (False, True)
        )

    @cached_property
    def _packed(self) -> str:
        return without_blanks(self._text)


def check_complete(
    texts: Sequence[str], answers: Sequence[str], messages: Sequence[Message]
) -> None:
    """Raise ConversationError if words are missing from where they should be.

    What a trained turn thinks, says and calls must be in its answer. What others say
    must be in the text; an earlier turn's thoughts need not.

    Args:
        texts: Texts of the conversation; the last one holds all messages.
        answers: The trained part of each trained turn, in order.
        messages: Messages up to the last trained one.
    """
    whole = Rendered(texts[-1])
    said_by_all = "".join(message["content"] for message in messages)
    if {*DUMPED_PART.findall(texts[-1])} - {*DUMPED_PART.findall(said_by_all)}:
        raise ConversationError("the chat template writes parts of a message as JSON")
    answered = iter(answers)
    for place, message in enumerate(messages):
        is_trained = message.get("train", False)
        found = Rendered(next(answered)) if is_trained else whole
        for part, said in parts_of(message):
            if part == "reasoning_content" and not is_trained:
                continue
            if not found.holds_or_quotes(said):
                raise ConversationError(
                    f"the chat template leaves out messages[{place}].{part}"
                    f" ({message['role']}): {shortened(said)}"
                )
        if calls := message.get("tool_calls"):
            check_calls(found, calls, f"messages[{place}].tool_calls")


def check_calls(found: Rendered, calls: Sequence[ToolCall], path: str) -> None:
    """Raise ConversationError unless all calls are there, their arguments as JSON.

    Args:
        found: Text that should hold them.
        calls: Calls of one message.
        path: Place of the calls, for messages.
    """
    names = [call["function"]["name"] for call in calls]
    for name in names:
        if found.count(name) < names.count(name):
            raise ConversationError(
                f"the chat template leaves out {path}: {shortened(name)}"
            )
    for call in calls:
        arguments = call["function"]["arguments"]
        if not arguments or found.holds(as_line(arguments)):
            continue
        if found.holds(repr(arguments)):
            raise ConversationError(
                f"the chat template writes the arguments of {path} as Python and not as"
                " JSON"
            )
        for value in leaves_of(arguments):
            if not found.holds_or_quotes(value):
                raise ConversationError(
                    f"the chat template leaves out an argument of {path}:"
                    f" {shortened(value)}"
                )


def leaves_of(value: Any) -> Iterator[str]:
    """Yield the texts and numbers that a JSON value holds, as texts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from leaves_of(each)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield as_line(value)


def parts_of(message: Message) -> list[tuple[str, str]]:
    """Return the parts of a message that a rendered text must hold, with their keys."""
    thought, answer = "", message["content"]
    if message["role"] == "assistant":
        thought, answer = split_thought(answer)
    parts = [("content", answer), ("reasoning_content", thought)]
    parts.append(("reasoning_content", message.get("reasoning_content", "")))
    return [(key, said) for key, said in parts if said]


def without_blanks(text: str) -> str:
    """Return a text without white space."""
    return "".join(text.split())


def shortened(text: str) -> str:
    """Return the beginning of a text, quoted."""
    return repr(text[:40]) + ("..." if len(text) > 40 else "")
