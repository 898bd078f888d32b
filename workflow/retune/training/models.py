"""The base model as the ranks train it: loaded, sharded, with adapters."""

import logging
import re
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.integrations import HfDeepSpeedConfig
from transformers.integrations.deepspeed import prevent_arange_dtype_change

from retune.errors import RetuneError
from retune.settings import LoraSettings
from retune.training.weight_names import (
    adapted_weight,
    is_adapter,
    published_name,
    stored_name,
)

log = logging.getLogger("retune")

# A larger difference, as a share of the largest logit, is no rounding error in bf16.
LEAK = 1e-2


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
    model_config = AutoConfig.from_pretrained(
        base, trust_remote_code=False, local_files_only=True
    )
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
    files = find_tensors(base)
    names = names_on_disk(model, files)
    if names is None:
        log.warning("this model's tensors are stored under other names: reading it all")
        # While this object lives, transformers loads into shards.
        sharding = HfDeepSpeedConfig(config)
        model = load_whole(base, config, **options)
        del sharding
    else:
        read_into_shards(model, names, files)
    return model


def find_tensors(base: Path) -> dict[str, Path]:
    """Return the tensors' names -> the safetensors file that holds each."""
    found = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def names_on_disk(
    model: PreTrainedModel, files: dict[str, Path]
) -> dict[str, Any] | None:
    """Return each weight's name in the model -> its name in the files.

    None if they do not have all of them.
    """
    names = {name: stored_name(name, files) for name, _ in named_weights(model)}
    return None if None in names.values() else names


def named_weights(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return parameters, tied ones once, and the buffers that are stored with them."""
    persistent = model.state_dict().keys()
    buffers = [(n, b) for n, b in model.named_buffers() if n in persistent]
    return [*model.named_parameters(), *buffers]


@torch.no_grad()
def read_into_shards(
    model: PreTrainedModel, names: dict[str, str], files: dict[str, Path]
) -> None:
    """Fill the shards: rank 0 reads a tensor, all ranks keep their part of it."""
    for name, weight in named_weights(model):
        is_parameter = hasattr(weight, "ds_id")
        with deepspeed.zero.GatheredParameters(
            [weight] if is_parameter else [],
            modifier_rank=0 if is_parameter else None,
        ):
            # A buffer is whole on every rank.
            if dist.get_rank() == 0 or not is_parameter:
                with safe_open(files[names[name]], framework="pt") as file:
                    weight.copy_(file.get_tensor(names[name]))


def add_adapters(model: PreTrainedModel, lora: LoraSettings) -> nn.Module:
    """Return the model with new LoRA adapters, its own weights frozen."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise RetuneError(
            "finetune.lora needs peft, which is not installed: pip install"
            " 'retune[lora]'"
        ) from None
    options = lora.model_dump()
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


@torch.no_grad()
def check_isolation(engine: deepspeed.DeepSpeedEngine) -> None:
    """Raise RetuneError if the model lets packed documents see each other.

    Some families ignore the mask that follows from position_ids. Two sequences that
    differ only in their first document must give the second the same logits.
    """
    engine.eval()
    second = torch.arange(10, 14)
    sequences = [torch.cat([first, second]) for first in (second - 4, second + 4)]
    input_ids = torch.stack(sequences).to(engine.device)
    position_ids = torch.arange(4).repeat(2, 2).to(engine.device)
    logits = logits_of(engine, input_ids, position_ids)[:, 4:]
    engine.train()
    difference = (logits[0] - logits[1]).abs().max()
    if difference > LEAK * logits.abs().max():
        raise RetuneError(
            f"model: {engine.module.config.model_type} models let packed documents see"
            " each other in transformers; choose a model of another family"
        )
