"""The chat template of a model, with the variables that it is rendered with."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from retune.chat.refusal import ConversationError
from retune.compat.transformers_chat_templates import CompiledTemplate
from retune.errors import RetuneError
from retune.examples.example import Message, as_line
from retune.settings.model import CHAT_TEMPLATES

FILE = "chat_template.jinja"
# A template that writes today's date gets this one. Otherwise the same data would give
# other tokens on another day. It is the date that Llama's templates fall back on.
FIXED_DATE = date(2024, 7, 26)
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
# The switch of models that think before they answer, or not.
THINKING_SWITCH = "enable_thinking"

# A message and a tool as the template sees them.
Rendering = dict[str, Any]


def fixed_strftime(pattern: str) -> str:
    """Return the fixed date in a format of `strftime`."""
    return FIXED_DATE.strftime(pattern)


@dataclass(frozen=True)
class Marked:
    """A conversation as text, with what the template marks as the assistant's.

    Attributes:
        text: The text.
        spans: First character and the one after the last of each marked part.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


class ChatTemplate:
    """A chat template, ready to render.

    Attributes:
        text: The template, in Jinja.
        has_marks: Whether it marks what the assistant generates.
        switches: Values of variables to render with, the template's default first.
    """

    def __init__(self, text: str, special_tokens: Mapping[str, str]) -> None:
        """Compile a template.

        Args:
            text: The template, in Jinja.
            special_tokens: Special tokens by their names in templates, such as
                `bos_token`.

        Raises:
            RetuneError: If it is no template.
        """
        self.text = text
        self.has_marks = GENERATION_MARK.search(text) is not None
        self.switches: tuple[dict[str, bool], ...] = ({},)
        if THINKING_SWITCH in text:
            self.switches += ({THINKING_SWITCH: False}, {THINKING_SWITCH: True})
        self._special_tokens = dict(special_tokens)
        try:
            self._compiled = CompiledTemplate(text, fixed_strftime)
        except jinja2.TemplateSyntaxError as error:
            raise RetuneError(
                f"the chat template is no Jinja: {error.message}, line {error.lineno}"
            ) from error

    @classmethod
    def of(cls, folder: Path, special_tokens: Mapping[str, str]) -> "ChatTemplate":
        """Read the template of a model's folder.

        Args:
            folder: Folder of the model.
            special_tokens: Special tokens by their names in templates.

        Raises:
            RetuneError: If there is none.
        """
        path = folder / FILE
        if not path.exists():
            raise RetuneError(
                "model.chat_template: auto, but the model has no chat template, by"
                " which conversations become text: write the name of one that is built"
                f" in ({', '.join(CHAT_TEMPLATES)}), or a file with one"
            )
        return cls(path.read_text(encoding="utf-8"), special_tokens)

    def render(
        self,
        messages: Sequence[Rendering],
        tools: Sequence[Rendering],
        switch: Mapping[str, bool],
        add_generation_prompt: bool = False,
    ) -> str:
        """Return the text of a conversation.

        Args:
            messages: The messages.
            tools: JSON schemas of the tools.
            switch: Values of further variables, one of `switches`.
            add_generation_prompt: Whether the beginning of an answer follows.

        Raises:
            ConversationError: If the template refuses it.
        """
        try:
            return self._compiled.render(
                messages,
                tools or None,
                add_generation_prompt,
                {**self._special_tokens, **switch},
            )
        # A template may do anything with a message that it does not expect.
        except Exception as error:
            raise refusal(error) from error

    @cached_property
    def knows_tools(self) -> bool:
        """Whether it shows the model which tools there are."""
        messages = [{"role": "user", "content": "Hi"}]
        tool = {"name": "add", "description": "Adds.", "parameters": {}}
        schema = {"type": "function", "function": tool}
        try:
            shown = self.render(messages, [schema], {})
            return shown != self.render(messages, [], {})
        except ConversationError:
            return True

    def render_with_marks(
        self, messages: Sequence[Rendering], tools: Sequence[Rendering]
    ) -> Marked:
        """Return the text of a conversation with what the template marks.

        Raises:
            ConversationError: If the template refuses it.
        """
        try:
            text, spans = self._compiled.render_with_marks(
                messages, tools or None, self._special_tokens
            )
        except Exception as error:
            raise refusal(error) from error
        return Marked(text, tuple(spans))


def refusal(error: Exception) -> ConversationError:
    """Return the error that quotes what the template, or Jinja, says."""
    words = " ".join(str(error).split()) or type(error).__name__
    return ConversationError(f"the chat template refuses it: {words}")


def forms_of(messages: Sequence[Message]) -> Iterator[list[Rendering]]:
    """Yield the messages in each form that templates expect, the usual one first.

    Most templates take the arguments of a tool call as an object, some as a string of
    JSON, and some want no content beside a call. Most take a content as a string, some
    as a list of parts.
    """
    plain: list[Rendering] = [
        {key: value for key, value in message.items() if key != "train"}
        for message in messages
    ]
    forms = [plain]
    if any(message.get("tool_calls") for message in messages):
        forms += [
            [with_arguments_as_text(message) for message in plain],
            [without_empty_content(with_arguments_as_text(m)) for m in plain],
            [without_empty_content(message) for message in plain],
        ]
    yield from forms
    for form in forms:
        yield [with_parts(message) for message in form]


def with_arguments_as_text(message: Rendering) -> Rendering:
    """Return a message whose tool calls have their arguments as a string of JSON."""
    if not message.get("tool_calls"):
        return message
    calls = [
        {
            **call,
            "function": {
                **call["function"],
                "arguments": as_line(call["function"]["arguments"]),
            },
        }
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def without_empty_content(message: Rendering) -> Rendering:
    """Return a message that has None for an empty content beside a tool call."""
    if message["content"] or not message.get("tool_calls"):
        return message
    return {**message, "content": None}


def with_parts(message: Rendering) -> Rendering:
    """Return a message whose content is a list of one part."""
    if message["content"] is None:
        return message
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def builtin_template(name: str) -> str:
    """Return the text of a template that is built in."""
    path = Path(__file__).with_name("templates") / f"{name}.jinja"
    return path.read_text(encoding="utf-8")
