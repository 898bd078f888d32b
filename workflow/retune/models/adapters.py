"""Adds LoRA adapters to a model, to the layers that `consolidate` can merge."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn
from transformers import PreTrainedModel
from transformers.integrations import HfDeepSpeedConfig

from retune.artifacts.model_facts import ModelFacts
from retune.compat.bitsandbytes_4bit import has_transposed_layers
from retune.compat.deepspeed_parameters import is_sharded
from retune.compat.peft_names import (
    MAGNITUDE,
    adapted_layer,
    is_adapter,
    published_name,
)
from retune.errors import RetuneError
from retune.models.weight_names import adapted_weight, named_weights
from retune.planning.peft import check_peft
from retune.settings import LoraSettings


def add_adapters(
    model: PreTrainedModel, facts: ModelFacts, lora: LoraSettings
) -> nn.Module:
    """Return the model with new LoRA adapters in its dtype, its own weights frozen.

    For 4 bits peft's `prepare_model_for_kbit_training` is not needed: DeepSpeed rounds
    all weights, also those of norms, to the precision, and activations are computed
    again without reentering the backward pass, which needs no gradients of the inputs.

    Args:
        model: The base model, loaded.
        facts: The facts of the model.
        lora: The section `finetune.lora`.

    Raises:
        RetuneError: If `wrap` does, or with DoRA a layer has an output whose weights
            are all 0.
    """
    with gathering_of_shards(model):
        adapted = wrap(model, facts, lora)
    if lora.load_in_4bit:
        # peft takes the dtype of an adapter from its weight, which is bytes here.
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(model.dtype)
    check_magnitudes(adapted)
    return adapted.train()


def wrap(model: PreTrainedModel, facts: ModelFacts, lora: LoraSettings) -> nn.Module:
    """Return a model, which may be on the meta device, in peft's wrapper.

    Args:
        model: The base model.
        facts: The facts of the model.
        lora: The section `finetune.lora`.

    Raises:
        RetuneError: If peft is not installed, or a layer cannot have an adapter that
            `consolidate` can merge.
    """
    check_peft()
    from peft import LoraConfig, get_peft_model

    options = lora.model_dump(exclude={"load_in_4bit"})
    if experts := names_of_experts(facts):
        options["target_modules"] = layers_beside_experts(
            model, experts, lora.target_modules
        )
    if has_transposed_layers(model):
        # As peft does it for Conv1D, which layers in 4 bits no longer are.
        options["fan_in_fan_out"] = True
    try:
        # Otherwise the adapters would be fp32, but only under ZeRO-3.
        adapted = get_peft_model(
            model,
            LoraConfig(task_type="CAUSAL_LM", **options),
            autocast_adapter_dtype=False,
        )
    except ValueError as error:
        raise RetuneError(
            f"finetune.lora.target_modules: {lora.target_modules}:"
            f" {str(error).splitlines()[0]}"
        ) from error
    # Otherwise `consolidate` would find out, when all is trained.
    names = [published_name(name) for name, _ in named_weights(adapted)]
    for name in filter(is_adapter, names):
        adapted_weight(name, names)
    return adapted


@contextmanager
def gathering_of_shards(model: PreTrainedModel) -> Iterator[None]:
    """Let peft gather each weight that ZeRO-3 has sharded, where it reads it.

    DoRA begins with the norms of whole weights. As long as there is such a config, peft
    knows that there are shards.
    """
    is_zero3 = any(map(is_sharded, model.parameters()))
    zero3 = {"zero_optimization": {"stage": 3}}
    config = HfDeepSpeedConfig(zero3) if is_zero3 else None
    yield
    del config


def check_magnitudes(adapted: nn.Module) -> None:
    """Raise RetuneError if a magnitude of DoRA is 0: its weights have no direction."""
    for name, parameter in adapted.named_parameters():
        published = published_name(name)
        if published.endswith(MAGNITUDE) and not parameter.all():
            raise RetuneError(
                f"finetune.lora.use_dora: {adapted_layer(published)} has an output"
                " whose weights are all 0, which has no direction; leave the layer out"
                " of finetune.lora.target_modules"
            )


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
