"""Which text of a conversation is trained: what the assistant has to write itself.

For a turn of the assistant, that is what the turn adds to the prompt that the model is
given: the conversation before it, with the beginning of an answer. A template may mark
it; otherwise both are rendered and compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from retune.chat.completeness import check_complete
from retune.chat.refusal import ConversationError
from retune.chat.template import ChatTemplate, Rendering, forms_of
from retune.chat.turn_ends import TurnEnds
from retune.examples.example import Conversation

Span = tuple[int, int]


@dataclass(frozen=True)
class TrainedText:
    """A text, and the parts of it that are trained.

    Attributes:
        text: The text.
        spans: First character and the one after the last of each trained part.
        is_from_common_beginning: Whether the template begins an answer otherwise than
            the prompt for it says, so that a part begins where the two part ways.
    """

    text: str
    spans: tuple[Span, ...]
    is_from_common_beginning: bool = False


@dataclass(frozen=True)
class Turn:
    """A trained turn as the last one of its conversation.

    Attributes:
        switch: Variables that it was rendered with.
        text: The conversation up to the turn, with it.
        start: First character that the turn adds to its prompt.
        end_token: Token that ends the turn if its text holds none: the one that begins
            the next message, or EOS.
        is_from_common_beginning: Whether the text does not begin with the whole prompt.
    """

    switch: Mapping[str, bool]
    text: str
    start: int
    end_token: str
    is_from_common_beginning: bool


def trained_texts(
    template: ChatTemplate,
    conversation: Conversation,
    ends: TurnEnds,
    added_tokens: Sequence[str],
) -> list[TrainedText]:
    """Return the texts that a conversation is trained on.

    It is one text if every turn stands in the whole conversation as it stands when it
    is the last one, which is how the model writes it. Otherwise each trained turn has a
    text of its own, in which it is the last one.

    Args:
        template: The chat template.
        conversation: The conversation.
        ends: Tokens that generation stops at.
        added_tokens: Tokens that the tokenizer finds in a text before all others.

    Raises:
        ConversationError: If the template refuses the conversation, nothing is trained,
            or the template leaves out words.
    """
    trained = [
        place
        for place, message in enumerate(conversation.messages)
        if message.get("train")
    ]
    if not trained:
        raise ConversationError("none of its turns is trained")
    if conversation.tools and not template.knows_tools:
        raise ConversationError(
            "it has tools, and the chat template shows the model none"
        )
    # What follows the last trained turn has no effect on the model.
    messages = conversation.messages[: trained[-1] + 1]
    refusal: Exception | None = None
    for form in forms_of(messages):
        try:
            texts = texts_of_form(
                template, form, conversation.tools, trained, ends, added_tokens
            )
            check_complete(
                [text.text for text in texts],
                [text.text[slice(*span)] for text in texts for span in text.spans],
                messages,
            )
        except ConversationError as error:
            refusal = refusal or error
        else:
            return texts
    assert refusal is not None
    raise refusal


def texts_of_form(
    template: ChatTemplate,
    messages: Sequence[Rendering],
    tools: Sequence[Rendering],
    trained: Sequence[int],
    ends: TurnEnds,
    added_tokens: Sequence[str],
) -> list[TrainedText]:
    """Return the texts of messages that are in one of the forms that templates expect.

    Args:
        template: The chat template.
        messages: Messages up to the last trained one.
        tools: JSON schemas of the tools.
        trained: Places of the trained messages, ascending.
        ends: Tokens that generation stops at.
        added_tokens: Tokens that the tokenizer finds in a text before all others.
    """
    if template.has_marks and (
        marked := marked_text(template, messages, tools, trained, ends)
    ):
        return [marked]
    turns = [
        turn_of(template, messages[: place + 1], tools, ends, added_tokens)
        for place in trained
    ]
    whole = whole_text(turns, ends)
    return [whole] if whole else [text_of(turn, ends) for turn in turns]


def marked_text(
    template: ChatTemplate,
    messages: Sequence[Rendering],
    tools: Sequence[Rendering],
    trained: Sequence[int],
    ends: TurnEnds,
) -> TrainedText | None:
    """Return the text of messages with the trained ones of the parts it marks.

    Returns:
        None if the template does not mark one part for each of the assistant's turns,
        or marks one that does not end.
    """
    marked = template.render_with_marks(messages, tools)
    turns = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    if len(turns) != len(marked.spans):
        return None
    text, spans = marked.text, []
    for turn, (start, end) in zip(turns, marked.spans, strict=True):
        if turn not in trained:
            continue
        stop = ends.end_of_answer(text, start, end)
        stop = stop or ends.end_after(text, end, len(text))
        if stop is None and turn == turns[-1]:
            text, stop = with_end(text, ends.eos)
        if stop is None:
            return None
        spans.append((start, stop))
    return TrainedText(text, tuple(spans))


def turn_of(
    template: ChatTemplate,
    messages: Sequence[Rendering],
    tools: Sequence[Rendering],
    ends: TurnEnds,
    added_tokens: Sequence[str],
) -> Turn:
    """Return the last of some messages, which is trained, as a turn.

    A model that thinks before it answers, or does not, has a switch for that in its
    template. The value is taken with which the prompt is what the turn begins with.
    """
    rendered = []
    for switch in template.switches:
        prompt = template.render(messages[:-1], tools, switch, True)
        text = template.render(messages, tools, switch)
        rendered.append((switch, prompt, text))
        if text.startswith(prompt):
            break
    else:
        rendered = rendered[:1]
    switch, prompt, text = rendered[-1]
    start, is_from_common_beginning = len(prompt), False
    if not text.startswith(prompt):
        shared = len(commonprefix([prompt, text]))
        start = min(border(each, shared, added_tokens) for each in (prompt, text))
        if len(messages) == 1:
            raise ConversationError(
                "it begins with the assistant, and the chat template has no prompt for"
                " that"
            )
        before = template.render(messages[:-1], tools, switch)
        if start <= len(commonprefix([before, prompt])):
            raise ConversationError(
                "the chat template writes the messages before an answer otherwise than"
                " when it asks for the answer"
            )
        is_from_common_beginning = True
    end_token = ends.eos
    if ends.end_of_answer(text, start, len(text)) is None:
        end_token = next_token(template, messages, tools, switch, text, ends)
    return Turn(switch, text, start, end_token, is_from_common_beginning)


def next_token(
    template: ChatTemplate,
    messages: Sequence[Rendering],
    tools: Sequence[Rendering],
    switch: Mapping[str, bool],
    text: str,
    ends: TurnEnds,
) -> str:
    """Return the token that begins the next message, if generation stops at it, or EOS.

    Some templates end no turn; where one ends is where another begins.

    Args:
        template: The chat template.
        messages: Messages up to a turn of the assistant.
        tools: JSON schemas of the tools.
        switch: Variables to render with.
        text: These messages as text.
        ends: Tokens that generation stops at.
    """
    role = "tool" if messages[-1].get("tool_calls") else "user"
    following = [*messages, {"role": role, "content": messages[0]["content"]}]
    try:
        longer = template.render(following, tools, switch)
    except ConversationError:
        return ends.eos
    if not longer.startswith(text):
        return ends.eos
    stop = ends.end_after(longer, len(text), len(longer))
    return longer[len(text) : stop].strip() if stop else ends.eos


def border(text: str, place: int, added_tokens: Sequence[str]) -> int:
    """Return a place in a text, or where the added token begins that lies over it."""
    for token in added_tokens:
        found = text.find(token, max(0, place - len(token) + 1), place + len(token))
        if 0 <= found < place < found + len(token):
            return found
    return place


def whole_text(turns: Sequence[Turn], ends: TurnEnds) -> TrainedText | None:
    """Return the whole conversation as one text.

    Returns:
        None if a turn stands in it otherwise than when it is the last one, or does not
        end there.
    """
    last = text_of(turns[-1], ends)
    spans: list[Span] = []
    for turn in turns[:-1]:
        stop = ends.end_of_answer(turn.text, turn.start, len(turn.text))
        stop = stop or ends.end_after(last.text, len(turn.text), len(last.text))
        if stop is None or turn.switch != turns[-1].switch:
            return None
        known = min(stop, len(turn.text))
        if last.text[:known] != turn.text[:known]:
            return None
        spans.append((turn.start, stop))
    return TrainedText(
        last.text,
        (*spans, *last.spans),
        any(turn.is_from_common_beginning for turn in turns),
    )


def text_of(turn: Turn, ends: TurnEnds) -> TrainedText:
    """Return the text in which a turn is the last one, and the only trained one."""
    text = turn.text
    stop = ends.end_of_answer(text, turn.start, len(text))
    if stop is None:
        text, stop = with_end(text, turn.end_token)
    if stop <= turn.start:
        raise ConversationError("the chat template writes nothing for a trained turn")
    return TrainedText(text, ((turn.start, stop),), turn.is_from_common_beginning)


def with_end(text: str, token: str) -> tuple[str, int]:
    """Return a text with a token after its last word, and its length.

    A template that writes no token at the end of an answer would give a model that
    never stops.
    """
    text = text.rstrip() + token
    return text, len(text)
