"""Encodes examples: what the model sees of each, and which tokens are trained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from retune.artifacts.model_facts import ModelFacts
from retune.chat.refusal import ConversationError
from retune.chat.spelled_tokens import SpelledTokens
from retune.chat.template import ChatTemplate
from retune.chat.trained_text import TrainedText, trained_texts
from retune.chat.turn_ends import TurnEnds
from retune.errors import RetuneError
from retune.examples.example import Completion, Conversation, Example
from retune.tokens.offset_encoder import OffsetEncoder
from retune.tokens.sequences import TokenSequence
from retune.tokens.tokenizer import ModelTokenizer

# Examples that an error names.
SHOWN_EXAMPLES = 3

# The token sequences of an example, or why it cannot be trained.
Outcome = list[TokenSequence] | ConversationError


@dataclass(frozen=True)
class Part:
    """A text to encode.

    Attributes:
        example: Place of its example.
        trained: The text, and what is trained of it.
        special: What special tokens in it are: text, special tokens, or special tokens
            under their aliases, so that those that the data spells out are text.
    """

    example: int
    trained: TrainedText
    special: Literal["text", "special", "aliased"]


@dataclass(frozen=True)
class Rendered:
    """Examples as texts to encode.

    Attributes:
        refusals: Why an example cannot be trained, or None, for each.
        parts: The texts of the others, in their order.
    """

    refusals: list[ConversationError | None]
    parts: list[Part]

    @property
    def other_beginnings(self) -> int:
        """Number of texts in which an answer begins otherwise than its prompt says."""
        return sum(part.trained.is_from_common_beginning for part in self.parts)


class ExampleEncoder:
    """Encodes examples as the model is trained on them, and as it is asked later.

    Attributes:
        spelled: Finder of special tokens that the data spells out.
    """

    def __init__(
        self, folder: Path, facts: ModelFacts, tokenizer: ModelTokenizer
    ) -> None:
        """Take a model's folder; its chat template is read when it is needed.

        Args:
            folder: Folder of the model.
            facts: Facts of the base model.
            tokenizer: Tokenizer of the folder.
        """
        self.spelled = SpelledTokens(tokenizer.special)
        self._folder = folder
        self._facts = facts
        self._tokenizer = tokenizer
        names = [tokenizer.name_of(token) for token in facts.end_token_ids]
        self._ends = TurnEnds(names, tokenizer.name_of(facts.eos_token_id))

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template.

        Raises:
            RetuneError: If the folder has none.
        """
        return ChatTemplate.of(self._folder, self._facts.chat_variables)

    def encode(
        self, names: Sequence[str], examples: Sequence[Example]
    ) -> list[list[TokenSequence]]:
        """Return the token sequences of each example.

        Args:
            names: Name of each example, for messages.
            examples: The examples.

        Raises:
            RetuneError: Naming examples that cannot be trained.
        """
        outcomes = self.try_encode(examples)
        problems = [
            f"{name}: {outcome}"
            for name, outcome in zip(names, outcomes, strict=True)
            if isinstance(outcome, ConversationError)
        ]
        if problems:
            raise RetuneError(untrainable(problems, len(examples)))
        return [each for each in outcomes if not isinstance(each, ConversationError)]

    def try_encode(self, examples: Sequence[Example]) -> list[Outcome]:
        """Return the token sequences of each example, or why it cannot be trained.

        Raises:
            RetuneError: If the model has no chat template, or its tokenizer cannot
                encode a text.
        """
        return self.outcomes_of(self.render(examples))

    def render(self, examples: Sequence[Example]) -> Rendered:
        """Return the texts that examples are trained on; in one thread at a time.

        Raises:
            RetuneError: If the model has no chat template.
        """
        rendered = Rendered([], [])
        for number, example in enumerate(examples):
            refusal = None
            try:
                rendered.parts.extend(self._parts_of(number, example))
            except ConversationError as error:
                refusal = error
            rendered.refusals.append(refusal)
        return rendered

    def outcomes_of(self, rendered: Rendered) -> list[Outcome]:
        """Return the token sequences of rendered examples, or why there are none.

        Several threads may do so at a time: `tokenizers` lets go of Python's lock.

        Raises:
            RetuneError: If the tokenizer cannot encode a text.
        """
        outcomes: list[Outcome] = [refusal or [] for refusal in rendered.refusals]
        encoded = self._encoded(rendered.parts)
        for part, sequence in zip(rendered.parts, encoded, strict=True):
            sequences = outcomes[part.example]
            assert not isinstance(sequences, ConversationError)
            sequences.append(sequence)
        return outcomes

    def texts_of(self, conversation: Conversation) -> list[TrainedText]:
        """Return the texts that a conversation is trained on.

        Special tokens that the data spells out have a sign in them.

        Raises:
            ConversationError: If it cannot be trained.
        """
        return self._texts_of(conversation, self._spells_out(conversation))

    def prompt_of(self, conversation: Conversation) -> str:
        """Return what stands before the last trained turn, as the model is trained.

        Special tokens that the data spells out have a sign in them, which
        `encode_prompt` takes out.

        Raises:
            ConversationError: If the conversation cannot be trained.
        """
        last = self.texts_of(conversation)[-1]
        start, _ = last.spans[-1]
        return last.text[:start]

    def encode_prompt(self, text: str) -> list[int]:
        """Return the tokens of a text that `prompt_of` returned."""
        text, _ = self.spelled.with_aliases(text, [])
        (part,) = self._aliased.encode([text], [[]])
        return part.ids.tolist()

    def _parts_of(self, number: int, example: Example) -> list[Part]:
        if isinstance(example, Completion):
            text = example.prompt + example.completion
            # A blank before a word belongs to the word's token in most tokenizers.
            start = len(example.prompt.rstrip(" "))
            return [Part(number, TrainedText(text, ((start, len(text)),)), "text")]
        spells_out = self._spells_out(example)
        texts = self._texts_of(example, spells_out)
        if not spells_out:
            return [Part(number, each, "special") for each in texts]
        return [Part(number, self._with_aliases(each), "aliased") for each in texts]

    def _with_aliases(self, trained: TrainedText) -> TrainedText:
        text, spans = self.spelled.with_aliases(trained.text, trained.spans)
        return replace(trained, text=text, spans=tuple(spans))

    def _texts_of(
        self, conversation: Conversation, spells_out: bool
    ) -> list[TrainedText]:
        marked = self._marked(conversation) if spells_out else conversation
        return trained_texts(self.template, marked, self._ends, self._tokenizer.added)

    def _encoded(self, parts: Sequence[Part]) -> list[TokenSequence]:
        """Return the tokens of texts, those of each kind encoded together."""
        made: dict[int, TokenSequence] = {}
        for special in ("text", "special", "aliased"):
            places = [n for n, part in enumerate(parts) if part.special == special]
            if places:
                encoder: OffsetEncoder = getattr(self, f"_{special}")
                sequences = encoder.encode(
                    [parts[n].trained.text for n in places],
                    [parts[n].trained.spans for n in places],
                )
                if special == "text":
                    sequences = [self._with_bos_eos(each) for each in sequences]
                made |= zip(places, sequences, strict=True)
        return [made[number] for number in range(len(parts))]

    @cached_property
    def _text(self) -> OffsetEncoder:
        return self._tokenizer.text_encoder()

    @cached_property
    def _special(self) -> OffsetEncoder:
        return self._tokenizer.control_encoder()

    @cached_property
    def _aliased(self) -> OffsetEncoder:
        return self._tokenizer.control_encoder(self.spelled.aliases)

    def _with_bos_eos(self, sequence: TokenSequence) -> TokenSequence:
        """Return the tokens of a text as a document; its end is trained."""
        bos, eos = self._facts.bos_token_id, self._facts.eos_token_id
        ids = np.concatenate([[bos], sequence.ids, [eos]], dtype=np.int32)
        trained = np.concatenate([[False], sequence.trained, [True]])
        return replace(sequence, ids=ids, trained=trained)

    def _spells_out(self, conversation: Conversation) -> bool:
        """Return whether special tokens are spelled out in what is to be text."""
        return self._tokenizer.splits_special_tokens and self.spelled.are_in(
            [conversation.messages, conversation.tools]
        )

    def _marked(self, conversation: Conversation) -> Conversation:
        """Return a conversation with a sign in each special token that it spells."""
        if not self._tokenizer.splits_special_tokens:
            return conversation
        values: list[Any] = [conversation.messages, conversation.tools]
        return Conversation(*map(self.spelled.marked, values))


def untrainable(problems: Sequence[str], number: int) -> str:
    """Return the message for examples that cannot be trained.

    Args:
        problems: Name of each such example, and what is wrong with it.
        number: Number of all examples.
    """
    shown = list(problems[:SHOWN_EXAMPLES])
    if (others := len(problems) - len(shown)) > 0:
        shown.append(f"and {others:,} more of {number:,}")
    return "\n".join(shown)
