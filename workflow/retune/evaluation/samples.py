"""What a model writes after each prompt: the likeliest words, and a seeded draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.language_model import LanguageModel
from retune.settings import SampleSettings
from retune.tokens.tokenizer import ModelTokenizer

Options = dict[str, bool | int | float]
GREEDY: Options = {"do_sample": False}
SAMPLED: Options = {
    "do_sample": True,
    "temperature": 0.8,
    "top_p": 0.95,
    "top_k": 0,
}


@dataclass(frozen=True)
class Continuation:
    """What a model writes after a prompt.

    Attributes:
        likeliest: Text of the likeliest tokens.
        drawn: Text of tokens that were drawn at random, with a seed.
    """

    likeliest: str
    drawn: str


def continue_prompts(
    language_model: LanguageModel, prompts: Sequence[str], settings: SampleSettings
) -> list[Continuation]:
    """Return what a model writes after each prompt.

    A prompt is the start of a document: the same prefix precedes it as in scoring, and
    special tokens spelled out in it are what they are in the training text.
    Each draw has its own seed, so that a prompt's text depends on no other prompt's.
    """
    return [
        Continuation(
            likeliest=continue_prompt(language_model, prompt, settings, GREEDY, seed),
            drawn=continue_prompt(language_model, prompt, settings, SAMPLED, seed),
        )
        for seed, prompt in enumerate(prompts, start=settings.seed)
    ]


def check_prompts(
    prompts: Sequence[str],
    tokenizer: ModelTokenizer,
    facts: ModelFacts,
    settings: SampleSettings,
) -> None:
    """Raise RetuneError unless each prompt and its continuation fit the context."""
    context = facts.context_length
    for prompt in prompts:
        if not fits(prompt, tokenizer, facts, settings):
            length = num_tokens_with_continuation(prompt, tokenizer, settings)
            raise RetuneError(
                f"sample.prompts: {prompt[:30]!r} and max_new_tokens"
                f" ({settings.max_new_tokens}) make {length} tokens, the model's"
                f" context holds {context}: shorten one of them"
            )


def fits(
    prompt: str,
    tokenizer: ModelTokenizer,
    facts: ModelFacts,
    settings: SampleSettings,
) -> bool:
    """Return whether the model's context holds a prompt with its continuation."""
    context = facts.context_length
    return (
        not context
        or num_tokens_with_continuation(prompt, tokenizer, settings) <= context
    )


def num_tokens_with_continuation(
    prompt: str, tokenizer: ModelTokenizer, settings: SampleSettings
) -> int:
    """Return the tokens of a prompt, its prefix and its continuation."""
    (tokens,) = tokenizer.encode([prompt])
    return 1 + len(tokens) + settings.max_new_tokens


def continue_prompt(
    language_model: LanguageModel,
    prompt: str,
    settings: SampleSettings,
    options: Options,
    seed: int,
) -> str:
    """Return the text the model adds to a prompt, without special tokens."""
    model, tokenizer = language_model.model, language_model.tokenizer
    (tokens,) = tokenizer.encode([prompt])
    inputs = torch.tensor([[language_model.prefix, *tokens]])
    inputs = inputs.to(model.device)
    # The model's own generation_config.json fills only what is not named here.
    generation = GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        num_beams=1,
        repetition_penalty=1.0,
        pad_token_id=language_model.prefix,
        **options,
    )
    # The types of Transformers do not know that its models have this method.
    generate: Any = model.generate
    torch.manual_seed(seed)
    with torch.inference_mode():
        output = generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=generation,
        )
    return tokenizer.decode(output[0, inputs.shape[1] :].tolist())
