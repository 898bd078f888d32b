"""The base model as the ranks train it: loaded, sharded, with adapters."""

import logging
import re
from pathlib import Path
from typing import Any, Literal

import deepspeed
import deepspeed.comm as dist
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.integrations.deepspeed import prevent_arange_dtype_change

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.models.base_weights import BaseWeights
from retune.models.packing_check import sees_other_documents
from retune.models.skeleton import build_skeleton, named_weights
from retune.settings import LoraSettings
from retune.training.weight_names import adapted_weight, is_adapter, published_name

log = logging.getLogger("retune")


def load_model(
    base: Path,
    plan: dict[str, Any],
    config: dict[str, Any],
) -> PreTrainedModel:
    """Return the base model in fp32 and training mode.

    Under ZeRO-3 it is sharded while it is read, one tensor at a time: no rank ever
    holds all of it.

    Args:
        base: Folder in the Hugging Face layout, safetensors.
        plan: What `configure` resolved.
        config: The DeepSpeed config.
    """
    load = load_sharded if plan["zero_stage"] == 3 else load_whole
    kernels = plan["attn_implementation"]
    try:
        model = load(base, config, attn_implementation=kernels)
    except (ValueError, ImportError) as error:
        if kernels != "sdpa" or "scaled_dot_product_attention" not in str(error):
            said = str(error).splitlines()[0]
            is_about_kernels = re.search("attention|attn|flash", said, re.IGNORECASE)
            raise RetuneError(
                f"configure.attn_implementation: {kernels} cannot be used with this"
                f" model here: {said}"
                if is_about_kernels
                else f"model: it cannot be loaded: {said}"
            ) from error
        log.warning("this model has no sdpa attention: using eager, which is slower")
        model = load(base, config, attn_implementation="eager")
    if plan["activation_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def load_whole(base: Path, config: dict[str, Any], **options: Any) -> PreTrainedModel:
    """Return the model, whole on this rank."""
    return AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **options,
    )


def load_sharded(base: Path, config: dict[str, Any], **options: Any) -> PreTrainedModel:
    """Return the model, each parameter sharded over the ranks (ZeRO-3).

    transformers' own way has rank 0 read all files into memory first, and every rank
    draw random weights that nobody wants.
    """
    # DeepSpeed wraps what defines a class while it shards, and then loses the wrappers
    # of transformers: the model's module must be imported before.
    model_config = build_skeleton(base).config
    with (
        no_init_weights(),
        # Or the frequencies of rotary embeddings would be rounded to the precision of
        # the weights.
        prevent_arange_dtype_change(),
        deepspeed.zero.Init(config_dict_or_path=config),
    ):
        model = AutoModelForCausalLM.from_config(
            model_config, dtype=torch.float32, trust_remote_code=False, **options
        )
    model.tie_weights()
    read_into_shards(model, BaseWeights(base))
    return model


@torch.no_grad()
def read_into_shards(model: PreTrainedModel, stored: BaseWeights) -> None:
    """Fill the shards: rank 0 reads some tensors, all ranks keep their part of them.

    Those are read together that are made of the same stored tensors.
    """
    weights = dict(named_weights(model))
    for group in dict.fromkeys(map(stored.groups.get, weights)):
        # A buffer is whole on every rank.
        sharded = [weights[n] for n in group.weights if hasattr(weights[n], "ds_id")]
        with deepspeed.zero.GatheredParameters(
            sharded, modifier_rank=0 if sharded else None
        ):
            if dist.get_rank() == 0 or not sharded:
                for name, tensor in stored.read_group(group).items():
                    weights[name].copy_(tensor)


def add_adapters(
    model: PreTrainedModel, facts: ModelFacts, lora: LoraSettings
) -> nn.Module:
    """Return the model with new LoRA adapters, its own weights frozen."""
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
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    except ValueError as error:
        raise RetuneError(
            f"finetune.lora.target_modules: {lora.target_modules}:"
            f" {str(error).splitlines()[0]}"
        ) from error
    # Now, and not when all is trained and `consolidate` would find out.
    names = [published_name(name) for name, _ in named_weights(model)]
    for name in filter(is_adapter, names):
        adapted_weight(name, names)
    return model.train()


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

    In the model an expert is a part of one stacked weight, which peft adapts in a way
    that nothing but peft reads. And it takes any layer for an expert that is called as
    those are in the files: such layers get no adapters either.

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


def logits_of(
    engine: deepspeed.DeepSpeedEngine,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
) -> torch.Tensor:
    """Return the logits of packed sequences, [sequences, length, vocabulary].

    Args:
        engine: Around a model of `load_model`.
        input_ids: [sequences, length].
        position_ids: The same; a restart at 0 begins a document.
    """
    shape = input_ids.shape
    if "flash" in engine.module.config._attn_implementation:
        # transformers tells flash attention of documents in a single sequence only.
        input_ids, position_ids = input_ids.view(1, -1), position_ids.view(1, -1)
    # No attention mask and no cache: only then does transformers read document
    # boundaries off position_ids.
    logits = engine(
        input_ids=input_ids, position_ids=position_ids, use_cache=False
    ).logits
    return logits.view(*shape, -1)


def check_isolation(engine: deepspeed.DeepSpeedEngine) -> None:
    """Raise RetuneError if the model lets packed documents see each other.

    `fetch` looks at most families; those that cannot be made small are seen here first.
    """

    def logits(input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        device = engine.device
        return logits_of(engine, input_ids.to(device), position_ids.to(device))

    engine.eval()
    leaks = sees_other_documents(logits)
    engine.train()
    if leaks:
        raise RetuneError(
            f"model: {engine.module.config.model_type} models let packed documents see"
            " each other in transformers; choose a model of another family"
        )
