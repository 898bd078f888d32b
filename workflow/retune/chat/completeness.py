"""Whether a rendered conversation holds all that its messages say."""

import json
import re
from collections.abc import Sequence
from functools import cached_property

from retune.chat.refusal import ConversationError
from retune.examples.example import (
    THOUGHT_BEGINS,
    THOUGHT_ENDS,
    Message,
    as_line,
)

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

    A trained turn's reasoning, words and calls must be in a trained text. What others
    say must be in the text; an earlier turn's reasoning need not.

    Args:
        texts: Texts of the conversation; the last one holds all messages.
        answers: Their trained parts.
        messages: Messages up to the last trained one.
    """
    whole, trained = Rendered(texts[-1]), Rendered("".join(answers))
    said_by_all = "".join(message["content"] for message in messages)
    if {*DUMPED_PART.findall(texts[-1])} - {*DUMPED_PART.findall(said_by_all)}:
        raise ConversationError("the chat template writes parts of a message as JSON")
    for place, message in enumerate(messages):
        is_trained = message.get("train", False)
        for part, said in parts_of(message):
            if part == "reasoning_content" and not is_trained:
                continue
            if not (trained if is_trained else whole).holds_or_quotes(said):
                raise ConversationError(
                    f"the chat template leaves out messages[{place}].{part}"
                    f" ({message['role']}): {shortened(said)}"
                )
        for call in message.get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            in_python = whole.holds(repr(arguments))
            if arguments and in_python and not whole.holds(as_line(arguments)):
                raise ConversationError(
                    "the chat template writes the arguments of"
                    f" messages[{place}].tool_calls as Python and not as JSON"
                )


def parts_of(message: Message) -> list[tuple[str, str]]:
    """Return the parts of a message that a rendered text must hold, with their keys."""
    parts = [("content", message["content"])]
    if message["role"] == "assistant" and THOUGHT_ENDS in message["content"]:
        thought, _, answer = message["content"].rpartition(THOUGHT_ENDS)
        thought = thought.rpartition(THOUGHT_BEGINS)[-1]
        parts = [("reasoning_content", thought), ("content", answer)]
    if reasoning := message.get("reasoning_content"):
        parts.append(("reasoning_content", reasoning))
    for call in message.get("tool_calls", ()):
        parts.append(("tool_calls", call["function"]["name"]))
    return parts


def without_blanks(text: str) -> str:
    """Return a text without white space."""
    return "".join(text.split())


def shortened(text: str) -> str:
    """Return the beginning of a text, quoted."""
    return repr(text[:40]) + ("..." if len(text) > 40 else "")
