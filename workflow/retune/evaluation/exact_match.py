"""How often a model answers exactly what the data has, where that is short."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from retune.artifacts.evaluation_metrics import ExactMatch
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.example_prompts import PromptMaker, place_of_answer
from retune.evaluation.language_model import LanguageModel, LoadedModel
from retune.evaluation.prompt import Prompt
from retune.evaluation.samples import GREEDY, fits, generate
from retune.examples.example import Completion, Example
from retune.settings import ScoringSettings
from retune.terminal.progress import progress_bar
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.tokenizer import ModelTokenizer

# Longest answer, in characters, that is compared: a class, a number, a name. Of longer
# ones hardly any comes out word for word, and each costs as many passes as tokens.
LONGEST_ANSWER = 40
# Tokens that a model may write more than the answer has: other tokens of the same text,
# blanks, and the end.
MORE_TOKENS = 8


@dataclass(frozen=True)
class Question:
    """A prompt whose answer is short.

    Attributes:
        prompt: The prompt.
        answer: Answer that the data has, without white space at its ends.
        max_new_tokens: Number of tokens that the model may write.
    """

    prompt: Prompt
    answer: str
    max_new_tokens: int


def measure_exact_match(
    step: str,
    language_model: LanguageModel,
    examples: Sequence[Example],
    settings: ScoringSettings,
) -> ExactMatch | None:
    """Return how often a model's likeliest answer is that of the data.

    Args:
        step: Name of the step, for the progress bar.
        language_model: The model.
        examples: The test examples; none if the data are texts.
        settings: What decides scores, of the `evaluate` section.

    Returns:
        None if no example has a short answer.
    """
    tokenizer, facts = language_model.tokenizer, language_model.facts
    short = [example for example in examples if has_short_answer(example)]
    if not short or not settings.exact_match_examples:
        return None
    encoder = ExampleEncoder(language_model.folder, facts, tokenizer)
    maker = PromptMaker(encoder, tokenizer, facts)
    questions = [
        question
        for example in evenly_chosen(short, settings.exact_match_examples)
        if (prompt := maker.of_example(example))
        and has_room(question := question_of(prompt, tokenizer), facts)
    ]
    if not questions:
        return None
    # Prompts of about equal length need little padding beside each other.
    questions.sort(key=lambda question: -len(question.prompt.ids))
    batches = [
        questions[first : first + settings.batch_size]
        for first in range(0, len(questions), settings.batch_size)
    ]
    matches = 0
    with progress_bar(step, len(questions), "answers") as bar:
        for number, found in language_model.each(count_matches, batches):
            matches += found
            bar.update(len(batches[number]))
    return ExactMatch(
        examples=len(questions), matches=matches, share=matches / len(questions)
    )


def has_short_answer(example: Example) -> bool:
    """Return whether an example's last answer is a few words, and nothing else."""
    if isinstance(example, Completion):
        answer = example.completion
    else:
        message = example.messages[place_of_answer(example)]
        if message.get("tool_calls") or message.get("reasoning_content"):
            return False
        answer = message["content"]
    return 0 < len(answer.strip()) <= LONGEST_ANSWER


def evenly_chosen(examples: Sequence[Example], count: int) -> list[Example]:
    """Return at most `count` of the examples, in order, from all over them."""
    count = min(count, len(examples))
    return [examples[number * len(examples) // count] for number in range(count)]


def question_of(prompt: Prompt, tokenizer: ModelTokenizer) -> Question:
    """Return what to ask a model, given the prompt of an example."""
    answer = (prompt.reference or "").strip()
    (ids,) = tokenizer.encode([answer])
    return Question(prompt, answer, len(ids) + MORE_TOKENS)


def has_room(question: Question, facts: ModelFacts) -> bool:
    """Return whether the model's context holds a prompt and its answer."""
    return fits(question.prompt.ids, question.max_new_tokens, facts)


def count_matches(language_model: LoadedModel, questions: Sequence[Question]) -> int:
    """Return how many of the questions a model answers as the data does."""
    try:
        answers = generate(
            language_model,
            [question.prompt.ids for question in questions],
            max(question.max_new_tokens for question in questions),
            GREEDY,
            language_model.facts.end_token_ids,
        )
    except torch.OutOfMemoryError as error:
        raise RetuneError(
            f"evaluate.batch_size: {len(questions)} answers at once do not fit the"
            " GPU's memory; use fewer"
        ) from error
    return sum(
        # An answer that goes on and on is none, whatever was written beside it.
        len(ids) < question.max_new_tokens
        and language_model.tokenizer.decode(ids).strip() == question.answer
        for ids, question in zip(answers, questions, strict=True)
    )
