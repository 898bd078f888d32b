"""The weights that the ranks hold, each with its hash, to which a model is compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch

from retune.artifacts.checkpoint_weights import CheckpointWeights, LiveWeight
from retune.compat.bitsandbytes_4bit import layers_in_4bit, weight_of
from retune.compat.deepspeed_parameters import is_sharded
from retune.compat.peft_names import published_name
from retune.engines.pipeline import Pipeline
from retune.engines.pipeline_layers import layer_files
from retune.engines.trainers import Trainer
from retune.errors import RetuneError
from retune.models.finite_values import is_finite
from retune.models.tensor_hashes import tensor_sha256


@dataclass(frozen=True)
class HashedWeight:
    """A weight that one rank has hashed.

    Attributes:
        stage: Pipeline stage that holds it, from 0.
        place: Its place among the weights of the stage, from 0.
        name: Its name in the model.
        weight: What it is.
        is_finite: Whether none of its elements is NaN or infinite.
    """

    stage: int
    place: int
    name: str
    weight: LiveWeight
    is_finite: bool


def checkpoint_weights(
    trainer: Trainer, earlier: CheckpointWeights | None
) -> CheckpointWeights:
    """Return what the weights of a checkpoint saved now are; all ranks must call this.

    Args:
        trainer: Holds the weights.
        earlier: The weights of an earlier checkpoint by the same process.

    Raises:
        RetuneError: If weights are not finite.
    """
    return CheckpointWeights(
        tensors=live_weights(trainer, earlier.tensors if earlier else {}),
        lora=adapter_config(trainer),
        in_4bit=tuple(weights_in_4bit(trainer)),
        layers=all_layer_files(trainer),
    )


def adapter_config(trainer: Trainer) -> dict[str, Any] | None:
    """Return the content of peft's adapter_config.json, None without adapters."""
    configs = getattr(trainer.engine.module, "peft_config", None)
    if configs is None:
        return None
    (config,) = configs.values()
    return {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in config.to_dict().items()
    }


def weights_in_4bit(trainer: Trainer) -> dict[str, Any]:
    """Return weight's name -> layer, of the weights that are held in 4 bits."""
    layers = layers_in_4bit(trainer.engine.module)
    return {published_name(f"{name}.weight"): layer for name, layer in layers.items()}


def all_layer_files(trainer: Trainer) -> dict[str, dict[str, str]] | None:
    """Return file -> name in it -> name in the model, None without pipeline stages."""
    if not isinstance(trainer, Pipeline):
        return None
    of_ranks: list[dict[str, dict[str, str]]] = [{}] * dist.get_world_size()
    dist.all_gather_object(of_ranks, layer_files(trainer.engine.module))
    return {file: names for files in of_ranks for file, names in files.items()}


@torch.no_grad()
def live_weights(
    trainer: Trainer, earlier: Mapping[str, LiveWeight]
) -> dict[str, LiveWeight]:
    """Return every weight of the model by its name.

    All ranks must call this: under ZeRO-3 the parameters are gathered, one at a time.
    Of the ranks that hold the same weights, each hashes some.

    Args:
        trainer: Holds the weights.
        earlier: What this returned before. Frozen weights are as they were and are not
            hashed again.

    Raises:
        RetuneError: If weights are not finite.
    """
    of_ranks: list[list[HashedWeight]] = [[]] * dist.get_world_size()
    dist.all_gather_object(of_ranks, hash_some_weights(trainer, bool(earlier)))
    hashed = sorted(chain(*of_ranks), key=lambda found: (found.stage, found.place))
    tensors = {found.name: found.weight for found in hashed}
    wrong = [found.name for found in hashed if not found.is_finite]
    if wrong:
        raise RetuneError(
            f"{len(wrong)} of {len(tensors)} weights are not finite, {wrong[0]} the"
            " first: nothing was saved; earlier checkpoints are intact. Lower"
            " finetune.learning_rate"
        )
    return {**earlier, **tensors}


def hash_some_weights(trainer: Trainer, only_trained: bool) -> list[HashedWeight]:
    """Return the weights that this rank hashes; all ranks must call this.

    Args:
        trainer: Holds the weights.
        only_trained: Whether frozen weights are left out.
    """
    # The ranks of one pipeline stage follow each other.
    stage = dist.get_rank() // trainer.data_world_size
    hashed, in_4bit = [], weights_in_4bit(trainer)
    for place, (name, weight) in enumerate(trainer.named_weights()):
        if only_trained and not weight.requires_grad:
            continue
        sharded = [weight] if is_sharded(weight) else []
        with deepspeed.zero.GatheredParameters(sharded):
            if place % trainer.data_world_size == trainer.data_rank:
                held = weight_of(in_4bit[name]) if name in in_4bit else weight
                found = HashedWeight(
                    stage, place, name, live_weight(held), is_finite(held)
                )
                hashed.append(found)
    return hashed


def live_weight(tensor: torch.Tensor) -> LiveWeight:
    """Return dtype, shape and hash of a tensor."""
    return LiveWeight(
        dtype=str(tensor.dtype).removeprefix("torch."),
        shape=tuple(tensor.shape),
        sha256=tensor_sha256(tensor),
    )
