"""What Transformers makes of held-out examples, compared with what is trained."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from retune.chat.template import THINKING_SWITCH, forms_of
from retune.evaluation.example_prompts import place_of_answer
from retune.examples.example import Completion, Conversation, Example
from retune.tokens.auto_tokenizer import find_other_encoding
from retune.tokens.sequences import TokenSequence
from retune.tokens.tokenizer import Difference, ModelTokenizer

# Values of a template's variables by which it may render a conversation.
SWITCHES: tuple[dict[str, bool], ...] = (
    {},
    {THINKING_SWITCH: False},
    {THINKING_SWITCH: True},
)


def find_other_rendering(
    auto: PreTrainedTokenizerBase,
    tokenizer: ModelTokenizer,
    names: Sequence[str],
    examples: Sequence[Example],
    encoded: Sequence[Sequence[TokenSequence]],
) -> Difference | None:
    """Return the first example of which Transformers makes other tokens than we do.

    Conversations that are several sequences are not compared: Transformers renders each
    as one. Neither are, where special tokens in a text are text, examples that spell
    one out: Transformers makes a special token of it.

    Args:
        auto: Transformers' tokenizer, with its chat template.
        tokenizer: Our tokenizer.
        names: Name of each example, for a message.
        examples: The examples.
        encoded: Sequences of each example.
    """
    completions: list[tuple[str, str, np.ndarray]] = []
    for name, example, sequences in zip(names, examples, encoded, strict=True):
        if isinstance(example, Completion):
            whole = example.prompt + example.completion
            completions.append((name, whole, sequences[0].ids[1:-1]))
        elif len(sequences) == 1 and not spells_special_token(tokenizer, example):
            found = find_difference(auto, tokenizer, name, example, sequences[0].ids)
            if found:
                return found
    return find_other_encoding(
        auto,
        tokenizer,
        [name for name, _, _ in completions],
        [text for _, text, _ in completions],
        [ids for _, _, ids in completions],
    )


def spells_special_token(tokenizer: ModelTokenizer, example: Conversation) -> bool:
    """Return whether a conversation has special tokens in its text, as text."""
    spelled = tokenizer.count_special_tokens(example.to_json())
    return tokenizer.splits_special_tokens and spelled > 0


def find_difference(
    auto: PreTrainedTokenizerBase,
    tokenizer: ModelTokenizer,
    name: str,
    example: Conversation,
    ids: np.ndarray,
) -> Difference | None:
    """Return how Transformers' tokens of a conversation differ from ours."""
    end = tokenizer.name_of(int(ids[-1]))
    first: Difference | None = None
    for text in texts_by_transformers(auto, example):
        if isinstance(text, Exception):
            first = first or Difference(name, f"its chat template refuses it: {text}")
            continue
        # Where a template ends no answer, the model is trained to write an end itself.
        for whole in (text, text.rstrip() + end):
            other = auto(whole, add_special_tokens=False, verbose=False)["input_ids"]
            found = tokenizer.find_difference([name], [ids], [other])
            if not found:
                return None
            first = first or found
    return first


def texts_by_transformers(
    auto: PreTrainedTokenizerBase, example: Conversation
) -> Iterator[str | Exception]:
    """Yield Transformers' text of a conversation up to its last trained message.

    There is one, or an error, for each way in which a template may take it, the usual
    one first. The date in it is the fixed one: the template is the one that our encoder
    has compiled, which Transformers keeps.
    """
    end = 1 + place_of_answer(example)
    # Its types allow many results; without `tokenize` it is a text.
    render: Any = auto.apply_chat_template
    for messages in forms_of(example.messages[:end]):
        for switch in SWITCHES:
            try:
                text: str = render(
                    [dict(message) for message in messages],
                    tools=list(example.tools) or None,
                    tokenize=False,
                    **switch,
                )
            # A template may do anything with a message that it does not expect.
            except Exception as error:
                yield error
            else:
                yield text
