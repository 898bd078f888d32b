"""A message of a conversation as datasets write it, made one of ours.

OpenAI writes {role, content}, ShareGPT {from, value}. The content is a text, or a list
of typed parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from retune.examples.example import Message, ToolCall
from retune.examples.misfits import Misfit, list_at, object_at, text_in, wrong_type
from retune.examples.tool_calls import call_of, calls_in, spoken_calls

# Every name that datasets give to a speaker, and the role that it is for us.
ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "tool_response": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
# Names of speakers whose content is a call of a tool.
CALLERS = ("function_call", "tool_call")
REASONING = ("reasoning_content", "reasoning", "thinking")
WEIGHTS = ("weight", "loss_weight")
# Keys of a message that say more than its text does. None of them is trained on, and
# without them the text may mean something else.
NOT_TEXT = frozenset(
    ["image", "images", "audio", "audios", "video", "videos", "refusal"]
    + ["functions", "function_calls", "tools"]
)
TEXT_PARTS = ("text", "input_text", "output_text")
REASONING_PARTS = ("reasoning", "thinking")
KNOWN_PARTS = "text, reasoning, tool_call or tool_result"
A_MESSAGE = "an object with role and content"


@dataclass
class Content:
    """What a message holds.

    Attributes:
        text: What is said.
        reasoning: What the assistant thought before.
        calls: Tools that the assistant calls.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)


def message_of(value: object, path: str, *, is_trained: bool = True) -> Message:
    """Return a message of a dataset as one of ours.

    Args:
        value: The message as the dataset has it.
        path: Place of the message in the row, such as `messages[2]`.
        is_trained: Whether a message of the assistant is trained, unless it says no.

    Returns:
        The message. It has the key `train` if it is the assistant's.

    Raises:
        Misfit: If it is no message, or has more than text.
    """
    written = object_at(value, path, A_MESSAGE)
    speaker, role = speaker_of(written, path)
    refuse_more_than_text(written, path)
    content = content_of(written, speaker, path)
    if content.calls and role != "assistant":
        raise Misfit(path, f"has tool calls and the role {role!r}, should be assistant")
    message: Message = {"role": role, "content": content.text}
    if content.reasoning:
        message["reasoning_content"] = content.reasoning
    if content.calls:
        message["tool_calls"] = content.calls
    if call_id := text_in(written, "tool_call_id", path):
        message["tool_call_id"] = call_id
    if name := text_in(written, "name", path):
        message["name"] = name
    if role == "assistant":
        message["train"] = says_to_train(written, path) and is_trained
    return message


def speaker_of(written: Mapping[str, object], path: str) -> tuple[str, str]:
    """Return who speaks, as the dataset calls them, and the role that this is."""
    key = "role" if written.get("role") is not None else "from"
    speaker = written.get(key)
    if speaker is None:
        keys = ", ".join(written) or "none"
        raise Misfit(path, f"has no role (or from); its keys: {keys}")
    if not isinstance(speaker, str):
        raise wrong_type(speaker, f"{path}.{key}", "the name of a role")
    speaker = speaker.lower()
    role = ROLES.get(speaker)
    if role is None:
        raise Misfit(
            f"{path}.{key}", f"is {written[key]!r}, should be one of {', '.join(ROLES)}"
        )
    return speaker, role


def refuse_more_than_text(written: Mapping[str, object], path: str) -> None:
    """Raise Misfit if a message has a picture, a sound or the like."""
    if NOT_TEXT.isdisjoint(written):
        return
    for key in sorted(NOT_TEXT & written.keys()):
        if written[key]:
            raise Misfit(
                f"{path}.{key}", "says more than the text, and is not trained on"
            )


def content_of(written: Mapping[str, object], speaker: str, path: str) -> Content:
    """Return what a message holds."""
    calls: list[ToolCall] = []
    if "tool_calls" in written:
        calls = calls_in(written["tool_calls"], f"{path}.tool_calls")
    if written.get("function_call"):
        if calls:
            raise Misfit(path, "has both tool_calls and function_call")
        calls = [call_of(written["function_call"], f"{path}.function_call")]
    key = "content" if written.get("content") is not None else "value"
    value = written.get(key)
    if not calls and written.keys().isdisjoint(("content", "value")):
        raise Misfit(path, f"has no content; its keys: {', '.join(written)}")
    content_path = f"{path}.{key}"
    if speaker in CALLERS and value is not None:
        content = Content(calls=spoken_calls(value, content_path))
    elif isinstance(value, str):
        content = Content(value)
    else:
        content = content_of_parts(value, content_path)
    content.calls += calls
    for name in REASONING:
        reasoning = text_in(written, name, path)
        if content.reasoning and reasoning not in ("", content.reasoning):
            raise Misfit(
                f"{path}.{name}", "is another reasoning than one before: keep one"
            )
        content.reasoning = content.reasoning or reasoning
    return content


def content_of_parts(value: object, path: str) -> Content:
    """Return what a list of typed parts holds; nothing if it is null."""
    content = Content()
    if value is None:
        return content
    for number, part in enumerate(list_at(value, path, "text or a list of parts")):
        add_part(content, part, f"{path}[{number}]")
    return content


def add_part(content: Content, value: object, path: str) -> None:
    """Add a part, {type, text} or {type, value}, to what a message holds."""
    part = object_at(value, path, "a part with type and text")
    kind = text_in(part, "type", path)
    if not kind:
        raise Misfit(path, f"has no type; its keys: {', '.join(part) or 'none'}")
    key = next((key for key in (kind, "text", "value", "content") if key in part), None)
    if kind in TEXT_PARTS or kind == "tool_result":
        content.text += part_text(part, key, path)
    elif kind in REASONING_PARTS:
        content.reasoning += part_text(part, key, path)
    elif kind == "tool_call" and key is not None:
        content.calls += spoken_calls(part[key], f"{path}.{key}")
    else:
        raise Misfit(f"{path}.type", f"is {kind!r}, should be {KNOWN_PARTS}")


def part_text(part: Mapping[str, object], key: str | None, path: str) -> str:
    """Return the text of a part under the key that holds it."""
    if key is None:
        raise Misfit(path, f"has no text; its keys: {', '.join(part)}")
    return text_in(part, key, path)


def says_to_train(written: Mapping[str, object], path: str) -> bool:
    """Return whether a message lets itself be trained.

    Raises:
        Misfit: If it says so by something else than yes and no.
    """
    train = written.get("train")
    if not isinstance(train, bool | None):
        raise wrong_type(train, f"{path}.train", "true or false")
    for key in WEIGHTS:
        weight = written.get(key)
        if weight is not None and weight not in (0, 1):
            raise Misfit(f"{path}.{key}", f"is {weight!r}, should be 0 or 1")
        if weight == 0:
            return False
    return train is not False
