"""Chat templates as Transformers compiles them: the sandbox, the filters, the marks.

Uses `_compile_jinja_template`, `_render_with_assistant_indices` and
`_alias_reasoning_fields`, with which `apply_chat_template` renders. Without them, other
text could be trained than it gives, marks of what is trained could not be read, and a
template that writes today's date would give other tokens on each day.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers.utils.chat_template_utils import (
    _alias_reasoning_fields,
    _compile_jinja_template,
    _render_with_assistant_indices,
)

# A function that formats today's date, as `strftime` does.
Strftime = Callable[[str], str]


class CompiledTemplate:
    """A chat template that Transformers has compiled.

    Transformers keeps what it has compiled, so in this process `apply_chat_template`
    of the same template gives the same date.
    """

    def __init__(self, text: str, strftime_now: Strftime) -> None:
        """Compile a template.

        Args:
            text: The template.
            strftime_now: What formats today's date where the template asks for it.

        Raises:
            jinja2.TemplateSyntaxError: If it is no template.
        """
        self._compiled = _compile_jinja_template(text)
        # A plain dict: Jinja copies it for each text, which a ChainMap makes slow.
        self._compiled.globals = {
            **self._compiled.globals,
            "strftime_now": strftime_now,
        }

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, object],
    ) -> str:
        """Return the text of a conversation.

        Args:
            messages: Messages of plain JSON values.
            tools: JSON schemas of tools; None if there are none.
            add_generation_prompt: Whether the beginning of an answer follows.
            variables: Other variables of the template.
        """
        return self._compiled.render(
            messages=_alias_reasoning_fields(list(messages)),
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **variables,
        )

    def render_with_marks(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]] | None,
        variables: Mapping[str, object],
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of a conversation, and the spans that it marks as generated.

        Args:
            messages: Messages of plain JSON values.
            tools: JSON schemas of tools; None if there are none.
            variables: Other variables of the template.
        """
        return _render_with_assistant_indices(
            compiled_template=self._compiled,
            messages=_alias_reasoning_fields(list(messages)),
            tools=tools,
            documents=None,
            add_generation_prompt=False,
            **variables,
        )
