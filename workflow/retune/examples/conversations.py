"""Conversations: what rows of messages, and of instructions, become."""

from collections.abc import Iterable

from retune.examples.example import (
    BETWEEN_TURNS,
    Conversation,
    Message,
    split_thought,
)
from retune.examples.messages import message_of
from retune.examples.misfits import Misfit, list_at, parsed_json
from retune.examples.row_fields import RowFields
from retune.examples.tool_calls import tools_of
from retune.settings import SourceSettings

SYSTEM_ROLES = ("system", "developer")


def conversation_of(fields: RowFields) -> Conversation:
    """Return the conversation of a row of `messages`.

    The row's own column `system` goes before the messages.

    Raises:
        Misfit: If a value is not as the format has it.
    """
    messages = messages_in(fields["messages"], fields.columns["messages"])
    system = fields.text("system")
    if system.strip():
        first = messages[0] if messages else None
        if first is None or first["role"] not in SYSTEM_ROLES:
            messages.insert(0, {"role": "system", "content": system})
        elif first["content"] != system:
            raise Misfit(
                fields.columns["system"],
                f"and the first of {fields.columns['messages']} are two system"
                " messages: keep one",
            )
    return Conversation(
        tuple(messages), tools_of(fields["tools"], fields.columns["tools"])
    )


def conversation_of_instruction(fields: RowFields) -> Conversation:
    """Return the conversation that an instruction and its output are."""
    system, more = fields.text("system"), fields.text("input")
    asked = fields.text("instruction")
    if more.strip():
        asked = f"{asked}{BETWEEN_TURNS}{more}"
    messages: list[Message] = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": fields.text("output"), "train": True},
    ]
    if system.strip():
        messages.insert(0, {"role": "system", "content": system})
    return Conversation(tuple(messages))


def messages_in(value: object, path: str, *, is_trained: bool = True) -> list[Message]:
    """Return the messages of a list; none where it is null.

    Args:
        value: The list, or a text of JSON that is one.
        path: Place of the list in the row.
        is_trained: Whether messages of the assistant are trained, unless they say no.

    Raises:
        Misfit: If it is no list of messages.
    """
    right = "a list of messages, or a text of JSON that is one"
    if isinstance(value, str):
        value = parsed_json(value, path, right) if value.strip() else None
    if value is None:
        return []
    return [
        message_of(message, f"{path}[{number}]", is_trained=is_trained)
        for number, message in enumerate(list_at(value, path, right))
    ]


def as_settings_say(
    conversation: Conversation, settings: SourceSettings
) -> Conversation:
    """Return a conversation with the turns trained that the settings name."""
    messages: Iterable[Message] = with_first_untrained(conversation.messages)
    if settings.reasoning == "drop":
        messages = map(without_reasoning, messages)
    if settings.fold_system:
        messages = with_system_folded(messages)
    if settings.trained_turns == "last":
        messages = with_last_trained(messages)
    return Conversation(tuple(messages), conversation.tools)


def with_first_untrained(messages: Iterable[Message]) -> list[Message]:
    """Return messages of which a first one of the assistant is not trained.

    It greets the user who speaks afterwards, and answers nothing.
    """
    messages = list(messages)
    roles = [message["role"] for message in messages]
    if roles[:1] == ["assistant"] and "user" in roles:
        messages[0] = messages[0].copy()
        messages[0]["train"] = False
    return messages


def without_reasoning(message: Message) -> Message:
    """Return a message without what the assistant thinks before it answers."""
    if message["role"] != "assistant":
        return message
    answer = message.copy()
    answer.pop("reasoning_content", None)
    _, answer["content"] = split_thought(answer["content"])
    return answer


def with_system_folded(messages: Iterable[Message]) -> list[Message]:
    """Return messages with what the system says at first put before the user's first.

    Messages without a user's stay as they are.
    """
    messages = list(messages)
    roles = [message["role"] for message in messages]
    if "user" not in roles:
        return messages
    at = roles.index("user")
    folded = [message for message in messages[:at] if message["role"] in SYSTEM_ROLES]
    texts = [message["content"] for message in (*folded, messages[at])]
    before = [message for message in messages[:at] if message not in folded]
    user = messages[at].copy()
    user["content"] = BETWEEN_TURNS.join(filter(None, texts))
    return [*before, user, *messages[at + 1 :]]


def with_last_trained(messages: Iterable[Message]) -> list[Message]:
    """Return messages of which no turn of the assistant but the last is trained."""
    messages = [message.copy() for message in messages]
    turns = [message for message in messages if message["role"] == "assistant"]
    for turn in turns[:-1]:
        turn["train"] = False
    return messages
