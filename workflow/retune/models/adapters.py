"""Adds LoRA adapters to a model, to the layers that `consolidate` can merge."""

from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from retune.artifacts.model_facts import ModelFacts
from retune.compat.peft_names import is_adapter, published_name
from retune.errors import RetuneError
from retune.models.weight_names import adapted_weight, named_weights
from retune.settings import LoraSettings


def add_adapters(
    model: PreTrainedModel, facts: ModelFacts, lora: LoraSettings
) -> nn.Module:
    """Return the model with new LoRA adapters, its own weights frozen.

    Args:
        model: The base model, loaded.
        facts: The facts of the model.
        lora: The section `finetune.lora`.

    Raises:
        RetuneError: If peft is not installed, or a layer cannot have an adapter that
            `consolidate` can merge.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise RetuneError(
            "finetune.lora needs peft, which is not installed: pip install"
            " 'retune[lora]'"
        ) from None
    options = lora.model_dump()
    if experts := names_of_experts(facts):
        options["target_modules"] = layers_beside_experts(
            model, experts, lora.target_modules
        )
    try:
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    except ValueError as error:
        raise RetuneError(
            f"finetune.lora.target_modules: {lora.target_modules}:"
            f" {str(error).splitlines()[0]}"
        ) from error
    # Otherwise `consolidate` would find out, when all is trained.
    names = [published_name(name) for name, _ in named_weights(adapted)]
    for name in filter(is_adapter, names):
        adapted_weight(name, names)
    return adapted.train()


def names_of_experts(facts: ModelFacts) -> set[str]:
    """Return what the layers of a mixture's experts are called in its files."""
    return {
        name.split(".")[-2]
        for group in facts.weights
        for name in group.stored
        if group.is_converted
    }


def layers_beside_experts(
    model: PreTrainedModel, experts: set[str], wanted: list[str] | Literal["all-linear"]
) -> list[str]:
    """Return the full names of a mixture's linear layers that are to get adapters.

    In the model all experts of a layer are one stacked weight, which peft adapts in a
    way that nothing but peft reads. Layers that are no experts but are called like them
    get no adapters either, because peft takes them for experts.

    Args:
        model: The base model.
        experts: What the layers of the experts are called in the model's files.
        wanted: The setting `finetune.lora.target_modules`.

    Raises:
        RetuneError: If no linear layer has one of the wanted names.
    """
    head = model.get_output_embeddings()
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and name.rpartition(".")[2] not in experts
    ]
    if wanted == "all-linear":
        return layers
    ends = {end: [n for n in layers if f".{n}".endswith(f".{end}")] for end in wanted}
    if unknown := [end for end, found in ends.items() if not found]:
        there = sorted({name.rpartition(".")[2] for name in layers})
        raise RetuneError(
            f"finetune.lora.target_modules: {', '.join(unknown)} of this"
            f" {model.config.model_type} model can have no adapters (neither"
            f" experts nor the output head can); there are: {', '.join(there)}"
        )
    return [name for found in ends.values() for name in found]
