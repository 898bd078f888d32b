"""What `prepare` has to know of each example: its texts, and what it lacks."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

from retune.examples.example import (
    COLUMN,
    Completion,
    Conversation,
    Message,
    as_line,
    read_example,
)

# Characters that end a sentence.
ENDS = (".", "?", "!")
# Examples that are Python objects at one time.
ROWS_PER_BATCH = 10_000


class ExampleFacts(NamedTuple):
    """An example, and what `prepare` has to know of it.

    All is None if there is no example. All but `has_messages` and `has_no_nul` is None
    in a conversation without messages.

    Attributes:
        example: The example as JSON, its strings in Unicode form NFC.
        question: What was asked.
        answer: What is trained.
        system: What the system says.
        turns: Number of the assistant's turns.
        trained_turns: Number of them that are trained.
        has_messages: Whether it is more than an empty conversation.
        has_trained_turn: Whether some turn is trained.
        has_answers: Whether each trained turn says something, or calls a tool.
        has_question: Whether a user or a tool says something. A completion needs no
            prompt.
        has_no_nul: Whether no string holds the character NUL.
        has_tools: Whether there are tools to call, or calls of them.
        has_reasoning: Whether the assistant thinks before some answer.
        form: Roles of the messages, in order, and the tools, as JSON.
        lacks_blank: Whether a completion's first word follows the prompt's last one
            without a blank.
    """

    example: str | None = None
    question: str | None = None
    answer: str | None = None
    system: str | None = None
    turns: int | None = None
    trained_turns: int | None = None
    has_messages: bool | None = None
    has_trained_turn: bool | None = None
    has_answers: bool | None = None
    has_question: bool | None = None
    has_no_nul: bool | None = None
    has_tools: bool | None = None
    has_reasoning: bool | None = None
    form: str | None = None
    lacks_blank: bool | None = None


SCHEMA: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("example", "question", "answer", "system"), pl.String),
    **dict.fromkeys(("turns", "trained_turns"), pl.Int32),
    **dict.fromkeys(
        ("has_messages", "has_trained_turn", "has_answers", "has_question"), pl.Boolean
    ),
    **dict.fromkeys(("has_no_nul", "has_tools", "has_reasoning"), pl.Boolean),
    "form": pl.String,
    "lacks_blank": pl.Boolean,
}


def add_facts(documents: pl.DataFrame) -> pl.DataFrame:
    """Return the documents with the columns of `ExampleFacts`.

    Args:
        documents: Examples as JSON (string, column `example`), and other columns.
    """
    facts = pl.concat(
        pl.DataFrame(
            [facts_of(line) for line in batch[COLUMN]], schema=SCHEMA, orient="row"
        )
        for batch in documents.iter_slices(ROWS_PER_BATCH)
    )
    return documents.drop(COLUMN).hstack(facts)


def facts_of(line: str | None) -> ExampleFacts:
    """Return what has to be known of an example.

    Args:
        line: The example as one line of JSON; None if there is none.
    """
    if line is None:
        return ExampleFacts()
    line = in_nfc(line)
    example, has_no_nul = read_example(line), not holds_nul(line)
    if isinstance(example, Completion):
        return ExampleFacts(
            *(line, example.question, example.answer, example.system),
            turns=1,
            trained_turns=1,
            has_messages=True,
            has_trained_turn=True,
            has_answers=bool(example.completion.strip()),
            has_question=True,
            has_no_nul=has_no_nul,
            has_tools=False,
            has_reasoning=False,
            form="",
            lacks_blank=are_joined(example.prompt, example.completion),
        )
    if not example.messages:
        return ExampleFacts(line, has_messages=False, has_no_nul=has_no_nul)
    return facts_of_conversation(line, example, has_no_nul)


def facts_of_conversation(
    line: str, example: Conversation, has_no_nul: bool
) -> ExampleFacts:
    """Return what has to be known of a conversation that has messages."""
    messages = example.messages
    trained = [message for message in messages if message.get("train")]
    return ExampleFacts(
        *(line, example.question, example.answer, example.system),
        turns=example.num_turns,
        trained_turns=len(trained),
        has_messages=True,
        has_trained_turn=bool(trained),
        has_answers=all(map(says_something, trained)),
        has_question=any(
            message["role"] in ("user", "tool") and says_something(message)
            for message in messages
        ),
        has_no_nul=has_no_nul,
        has_tools=bool(example.tools)
        or any(message.get("tool_calls") for message in messages),
        has_reasoning=any(message.get("reasoning_content") for message in messages),
        form=as_line([[message["role"] for message in messages], example.tools]),
        lacks_blank=False,
    )


def are_joined(prompt: str, completion: str) -> bool:
    """Return whether a completion's first word is joined to the prompt's last one.

    In scripts without blanks between words that is as it should be.
    """
    before, after = prompt[-1:], completion[:1]
    is_spaced = all(unicodedata.east_asian_width(c) not in "WF" for c in before + after)
    return is_spaced and after.isalpha() and (before.isalnum() or before in ENDS)


def says_something(message: Message) -> bool:
    """Return whether a message has content that is not blank, or calls a tool."""
    return bool(message["content"].strip() or message.get("tool_calls"))


def in_nfc(line: str) -> str:
    r"""Return an example as JSON with its strings in Unicode form NFC.

    The JSON itself is not brought to that form: a combining mark after a line break
    would then belong to the `n` of the `\n` that JSON writes for the line break.
    """
    if unicodedata.is_normalized("NFC", line):
        return line
    value = json.loads(line)
    normal = values_in_nfc(value)
    return line if normal == value else as_line(normal)


def values_in_nfc(value: Any) -> Any:
    """Return a JSON value with its strings in Unicode form NFC; names stay."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [values_in_nfc(one) for one in value]
    if isinstance(value, dict):
        return {name: values_in_nfc(one) for name, one in value.items()}
    return value


def holds_nul(line: str) -> bool:
    """Return whether a string of an example holds the character NUL."""
    # JSON writes NUL like this, and a backslash before `u0000` in the same way.
    if r"\u0000" not in line:
        return False
    return any("\0" in text for text in strings_in(json.loads(line)))


def strings_in(value: Any) -> Iterator[str]:
    """Yield the strings of a JSON value; names are none of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings_in(one)
