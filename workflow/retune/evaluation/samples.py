"""What a model writes after each prompt: the likeliest words, and a seeded draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.language_model import LoadedModel
from retune.evaluation.prompt import Prompt
from retune.settings import SampleSettings

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
    language_model: LoadedModel,
    prompts: Sequence[Prompt],
    settings: SampleSettings,
    end_tokens: Sequence[int] | None = None,
) -> list[Continuation]:
    """Return what a model writes after each prompt.

    Each draw has its own seed, so that a prompt's text depends on no other prompt's.

    Args:
        language_model: The model.
        prompts: The prompts.
        settings: The `sample` section.
        end_tokens: Tokens that end an answer; None: as the model's own
            generation_config.json has it.
    """

    def continued(prompt: Prompt, options: Options, seed: int) -> str:
        return continue_prompt(
            language_model, prompt, settings, options, seed, end_tokens
        )

    return [
        Continuation(
            likeliest=continued(prompt, GREEDY, seed),
            drawn=continued(prompt, SAMPLED, seed),
        )
        for seed, prompt in enumerate(prompts, start=settings.seed)
    ]


def check_prompts(
    prompts: Sequence[Prompt], facts: ModelFacts, settings: SampleSettings
) -> None:
    """Raise RetuneError unless each prompt and its continuation fit the context."""
    for prompt in prompts:
        if not fits(prompt.ids, settings.max_new_tokens, facts):
            length = len(prompt.ids) + settings.max_new_tokens
            raise RetuneError(
                f"sample.prompts: {prompt.text[:30]!r} and max_new_tokens"
                f" ({settings.max_new_tokens}) make {length} tokens, the model's"
                f" context holds {facts.context_length}: shorten one of them"
            )


def fits(ids: Sequence[int], max_new_tokens: int, facts: ModelFacts) -> bool:
    """Return whether the model's context holds a prompt with its continuation."""
    context = facts.context_length
    return not context or len(ids) + max_new_tokens <= context


def continue_prompt(
    language_model: LoadedModel,
    prompt: Prompt,
    settings: SampleSettings,
    options: Options,
    seed: int,
    end_tokens: Sequence[int] | None,
) -> str:
    """Return the text the model adds to a prompt, without special tokens."""
    torch.manual_seed(seed)
    (ids,) = generate(
        language_model, [prompt.ids], settings.max_new_tokens, options, end_tokens
    )
    return language_model.tokenizer.decode(ids)


def generate(
    language_model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    options: Options,
    end_tokens: Sequence[int] | None,
) -> list[list[int]]:
    """Return the tokens that a model adds to each prompt.

    Shorter prompts are padded on the left, which the model does not attend to.

    Args:
        language_model: The model.
        prompts: Tokens of each prompt.
        max_new_tokens: Number of tokens to add at most.
        options: Options of Transformers' GenerationConfig.
        end_tokens: Tokens that end an answer and are not returned; None: as the model's
            own generation_config.json has it, and they are returned.

    Raises:
        RetuneError: If logits are not finite.
    """
    model, pad = language_model.model, language_model.prefix
    longest = max(map(len, prompts))
    inputs = torch.full((len(prompts), longest), pad)
    attended = torch.zeros_like(inputs)
    for row, ids in enumerate(prompts):
        inputs[row, longest - len(ids) :] = torch.tensor(ids, dtype=torch.int64)
        attended[row, longest - len(ids) :] = 1
    # The model's own generation_config.json fills only what is not named here.
    generation = GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_beams=1,
        repetition_penalty=1.0,
        pad_token_id=pad,
        **options,
        **({"eos_token_id": list(end_tokens)} if end_tokens else {}),
    )
    # The types of Transformers do not know that its models have this method.
    generate_tokens: Any = model.generate
    with torch.inference_mode():
        output = generate_tokens(
            inputs.to(model.device),
            attention_mask=attended.to(model.device),
            generation_config=generation,
            logits_processor=LogitsProcessorList([FiniteLogits(language_model)]),
        )
    added = output[:, longest:].tolist()
    return [until_end(ids, end_tokens or ()) for ids in added]


class FiniteLogits(LogitsProcessor):
    """Refuses logits that are NaN or infinite, of which token 0 would be taken."""

    def __init__(self, language_model: LoadedModel) -> None:
        """Take the model whose logits they are."""
        self.language_model = language_model

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor
    ) -> torch.FloatTensor:
        """Return the logits, float32 [prompts, vocabulary], as they are.

        Minus infinity is a token that cannot be drawn, unless all are.
        """
        if not scores.amax(dim=-1).isfinite().all():
            raise self.language_model.not_finite()
        return scores


def until_end(ids: Sequence[int], end_tokens: Sequence[int]) -> list[int]:
    """Return the tokens before the first one that ends an answer."""
    return list(takewhile(lambda token: token not in end_tokens, ids))
