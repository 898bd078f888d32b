"""The step `sample`: what the base and the tuned model write after the same prompts."""

import gc
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.samples import GenerationSettings, Sample, Samples
from retune.artifacts.verifying import verify_folder
from retune.evaluation.document_scores import (
    NOT_READ,
    documents_of,
    examples_of,
    have_answers,
    read_documents,
)
from retune.evaluation.example_prompts import PromptMaker, find_example_prompts
from retune.evaluation.language_model import load_model
from retune.evaluation.placement import find_placements
from retune.evaluation.prompt import Prompt
from retune.evaluation.prompts import find_prompts
from retune.evaluation.samples import (
    GREEDY,
    SAMPLED,
    Continuation,
    check_prompts,
    continue_prompts,
    fits,
)
from retune.quantities import counted
from retune.settings import PrecisionSettings, SampleSettings
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.tokenizer import ModelTokenizer

log = logging.getLogger(__name__)


def run(
    settings: SampleSettings,
    precision: PrecisionSettings,
    accelerator: str,
    ranks_per_node: str,
    consolidated: Path,
    base: Path,
    clean: Path,
    samples: Path,
) -> str:
    """Let both models continue each prompt.

    Args:
        settings: The `sample` section.
        precision: The data type of both models, of the `evaluate` section.
        accelerator: What to compute on, `accelerator` of the `hardware` section.
        ranks_per_node: How many of this machine's GPUs to use at most,
            `ranks_per_node` of the `hardware` section.
        consolidated: Folder of the tuned model that consolidate made
            (models/consolidated).
        base: Folder of the base model that fetch made (models/base).
        clean: Folder of the splits that prepare made (data/clean).
        samples: JSON file to write: how both models go on from the prompts
            (results/sample/samples.json).

    Returns:
        The number of prompts, for people.

    Raises:
        RetuneError: If an input is damaged, or a prompt leaves no room for an answer,
            or the model does not fit the GPUs, or its logits are not finite.
    """
    verify_folder(consolidated, "consolidate")
    verify_folder(base, "fetch")
    verify_folder(clean, "prepare", leave_out=NOT_READ)
    facts = ModelFacts.read(base)
    documents = documents_of(read_documents(clean), "test")
    prompts = prompts_of(settings, documents, consolidated, facts)
    check_prompts(prompts, facts, settings)
    # Texts end where the model's own configuration says.
    end_tokens = facts.end_token_ids if have_answers(documents) else None

    # A few prompts are no work for several copies.
    placement = find_placements(precision.dtype, facts, accelerator, ranks_per_node)[0]

    def continuations_of(model: Path) -> list[Continuation]:
        # The parts of a model that is split over GPUs refer to each other.
        gc.collect()
        language_model = load_model(model, facts, placement)
        return continue_prompts(language_model, prompts, settings, end_tokens)

    # One after the other, so that two models are never in memory at once.
    base_texts = continuations_of(base)
    tuned_texts = continuations_of(consolidated)
    paired_samples(settings, prompts, base_texts, tuned_texts).write(samples)
    return f"{counted(len(prompts), 'prompt')}, continued by both models"


def prompts_of(
    settings: SampleSettings, documents: pa.Table, model: Path, facts: ModelFacts
) -> list[Prompt]:
    """Return the prompts of the settings, or of some documents.

    Args:
        settings: The `sample` section.
        documents: The test documents.
        model: Folder of a model, whose tokenizer and chat template make the prompts.
        facts: Facts of the base model.
    """
    tokenizer = ModelTokenizer.of(model, facts)
    maker = PromptMaker(ExampleEncoder(model, facts, tokenizer), tokenizer, facts)

    def has_room(prompt: Prompt) -> bool:
        return fits(prompt.ids, settings.max_new_tokens, facts)

    if have_answers(documents):
        examples = examples_of(documents)
        prompts = find_example_prompts(settings, examples, maker, has_room)
        if not prompts and settings.prompts:
            log.warning(
                "no test example leaves room for sample.max_new_tokens (%d) in the"
                " model's context: there are no samples",
                settings.max_new_tokens,
            )
        return prompts
    texts = documents["text"].to_pylist()
    found = find_prompts(settings, texts, lambda text: has_room(maker.of_text(text)))
    return [maker.of_text(text) for text in found]


def paired_samples(
    settings: SampleSettings,
    prompts: Sequence[Prompt],
    base: Sequence[Continuation],
    tuned: Sequence[Continuation],
) -> Samples:
    """Return each prompt's texts side by side, and the settings that made them."""
    return Samples(
        settings=GenerationSettings(
            max_new_tokens=settings.max_new_tokens,
            seed=settings.seed,
            greedy=GREEDY,
            sampled=SAMPLED,
        ),
        samples=tuple(
            Sample(
                prompt=prompt.text,
                base=by_base.likeliest,
                tuned=by_tuned.likeliest,
                base_sampled=by_base.drawn,
                tuned_sampled=by_tuned.drawn,
                reference=prompt.reference,
            )
            for prompt, by_base, by_tuned in zip(prompts, base, tuned, strict=True)
        ),
    )
