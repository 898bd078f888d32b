"""Prompts of data that has answers: all that comes before an example's last answer."""

from collections.abc import Callable, Sequence

from retune.artifacts.model_facts import ModelFacts
from retune.chat.refusal import ConversationError
from retune.errors import RetuneError
from retune.evaluation.prompt import Prompt
from retune.evaluation.prompts import NUM_PROMPTS, spread
from retune.examples.example import (
    BETWEEN_TURNS,
    Completion,
    Conversation,
    Example,
    Message,
    texts_of,
)
from retune.settings import SampleSettings
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.tokenizer import ModelTokenizer


class PromptMaker:
    """Makes prompts of examples, of questions and of texts."""

    def __init__(
        self, encoder: ExampleEncoder, tokenizer: ModelTokenizer, facts: ModelFacts
    ) -> None:
        """Make prompts for one model.

        Args:
            encoder: Encoder of the examples, which knows the chat template.
            tokenizer: Tokenizer of the model.
            facts: Facts of the base model.
        """
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._bos = facts.bos_token_id

    def of_example(self, example: Example) -> Prompt | None:
        """Return what comes before the last trained answer, and that answer.

        Returns:
            None if the chat template takes no conversation that ends there, such as one
            without any message.
        """
        if isinstance(example, Completion):
            # As in training, blanks at the end of a prompt belong to the completion.
            return self.of_text(example.prompt.rstrip(" "), example.completion)
        place = place_of_answer(example)
        answer = BETWEEN_TURNS.join(texts_of(example.messages[place]))
        question = last_question(example.messages[:place])
        try:
            return Prompt(question, self._prompt_of(example), answer)
        except ConversationError:
            return None

    def of_question(self, question: str, like: Conversation) -> Prompt:
        """Return the prompt of a conversation that a user's message begins.

        Args:
            question: The message.
            like: An example, which says whether the model thinks before it answers.

        Raises:
            RetuneError: If the chat template refuses it.
        """
        asked: Message = {"role": "user", "content": question}
        answer = like.messages[place_of_answer(like)]
        try:
            return Prompt(question, self._prompt_of(Conversation((asked, answer))))
        except ConversationError as error:
            raise RetuneError(f"sample.prompts: {question[:30]!r}: {error}") from error

    def of_text(self, text: str, reference: str | None = None) -> Prompt:
        """Return the prompt of a document that begins with a text."""
        (ids,) = self._tokenizer.encode([text])
        return Prompt(text, [self._bos, *ids], reference)

    def _prompt_of(self, conversation: Conversation) -> list[int]:
        """Return the tokens before the last trained answer, as it is trained."""
        return self._encoder.encode_prompt(self._encoder.prompt_of(conversation))


def find_example_prompts(
    settings: SampleSettings,
    examples: Sequence[Example],
    maker: PromptMaker,
    fits: Callable[[Prompt], bool],
) -> list[Prompt]:
    """Return the prompts of the settings, or those of some examples.

    The settings' prompts are users' messages where the data has conversations, else
    texts that the model continues.

    Args:
        settings: The `sample` section.
        examples: The test examples, in an order that never changes.
        maker: Makes the prompts.
        fits: Returns whether a prompt leaves the model room to answer.
    """
    if settings.prompts != "auto":
        chats = [each for each in examples if isinstance(each, Conversation)]
        if not chats:
            return [maker.of_text(text) for text in settings.prompts]
        return [maker.of_question(text, chats[0]) for text in settings.prompts]
    prompts: dict[tuple[int, ...], Prompt] = {}
    for index in spread(len(examples), NUM_PROMPTS):
        prompt = maker.of_example(examples[index])
        if prompt and fits(prompt):
            prompts.setdefault(tuple(prompt.ids), prompt)
        if len(prompts) == NUM_PROMPTS:
            break
    return list(prompts.values())


def place_of_answer(conversation: Conversation) -> int:
    """Return the place of the last trained message."""
    messages = enumerate(conversation.messages)
    return max(place for place, message in messages if message.get("train"))


def last_question(messages: Sequence[Message]) -> str:
    """Return what the user said last; empty if no user spoke."""
    said = [message["content"] for message in messages if message["role"] == "user"]
    return said[-1] if said else ""
