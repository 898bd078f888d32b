"""The base model as the ranks train it: loaded, whole or sharded."""

import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from retune.artifacts.plan import Plan
from retune.compat.deepspeed_parameters import is_sharded
from retune.compat.transformers_empty_model import without_initial_weights
from retune.errors import RetuneError
from retune.models.activation_checkpointing import checkpoint_activations
from retune.models.base_weights import BaseWeights
from retune.models.compiled_layers import compile_layers
from retune.models.four_bit_weights import load_in_4bit
from retune.models.fused_activations import fuse_activations
from retune.models.liger_kernels import use_liger_kernels
from retune.models.skeleton import build_skeleton
from retune.models.varlen_attention import register_varlen
from retune.models.weight_names import named_weights
from retune.settings import Precision

log = logging.getLogger("retune")

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def load_model(
    base: Path,
    plan: Plan,
    config: dict[str, Any],
    in_4bit: bool = False,
    go_on: Callable[[], None] = lambda: None,
) -> PreTrainedModel:
    """Return the base model in the plan's precision and in training mode.

    DeepSpeed would round an fp32 model to the precision, too, before it copies the
    trained weights to fp32: the result is the same, in half the memory.

    Under ZeRO-3 it is sharded while it is read, one tensor at a time: no rank ever
    holds all of it.

    Args:
        base: Folder of the base model that `fetch` made.
        plan: The plan that `configure` made.
        config: The DeepSpeed config.
        in_4bit: Whether the weights of linear layers are held in 4 bits.
        go_on: Called after each weight that was rounded to 4 bits, which takes long.

    Raises:
        RetuneError: If Transformers cannot load it with the plan's attention kernels,
            or if it cannot compute activations again, or with Liger's kernels.
    """
    register_varlen()
    kernels, dtype = plan.attn_implementation, DTYPES[plan.precision]
    if plan.zero_stage == 3:
        assert not in_4bit, "ZeRO-3 shards no weights in 4 bits"
        load = partial(load_sharded, base, config)
    elif in_4bit:
        load = partial(load_in_4bit, base, dtype, go_on=go_on)
    else:
        load = partial(load_whole, base, dtype)
    try:
        model = load(kernels)
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
        model = load("eager")
    fuse_activations(model)
    use_liger_kernels(model, plan)
    checkpoint_activations(model, plan)
    compile_layers(model, plan)
    return model.train()


def load_whole(
    base: Path, dtype: torch.dtype, attn_implementation: str
) -> PreTrainedModel:
    """Return the model, whole on this rank, its weights rounded to a dtype."""
    return AutoModelForCausalLM.from_pretrained(
        base,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        attn_implementation=attn_implementation,
    )


def load_sharded(
    base: Path, config: dict[str, Any], attn_implementation: str
) -> PreTrainedModel:
    """Return the model, each parameter sharded over the ranks (ZeRO-3).

    DeepSpeed rounds each to the config's precision when it shards it.

    Transformers' own `from_pretrained` would read all files into the memory of rank 0
    first, and draw random weights on every rank.
    """
    # Classes that are defined while DeepSpeed shards lose the decorators that
    # Transformers puts on them: the model's module must be imported before.
    model_config = build_skeleton(base).config
    with (
        without_initial_weights(),
        deepspeed.zero.Init(config_dict_or_path=config),
    ):
        model = AutoModelForCausalLM.from_config(
            model_config,
            dtype=torch.float32,
            trust_remote_code=False,
            attn_implementation=attn_implementation,
        )
    model.tie_weights()
    read_into_shards(model, BaseWeights(base))
    return model


@torch.no_grad()
def read_into_shards(model: PreTrainedModel, stored: BaseWeights) -> None:
    """Fill the shards: rank 0 reads weights, and each rank keeps its shard of them.

    Weights that are made of the same stored tensors are read together.
    """
    weights = dict(named_weights(model))
    for group in dict.fromkeys(stored.groups[name] for name in weights):
        # Every rank holds the whole of a buffer and reads it itself.
        sharded = [weights[name] for name in group.weights if is_sharded(weights[name])]
        with deepspeed.zero.GatheredParameters(
            sharded, modifier_rank=0 if sharded else None
        ):
            if dist.get_rank() == 0 or not sharded:
                for name, tensor in stored.read_group(group).items():
                    weights[name].copy_(tensor)
