"""What the ranks' live weights are, tensor by tensor: the truth a model is held to."""

from typing import TYPE_CHECKING, Any

import deepspeed
import deepspeed.comm as dist
import torch

from retune.errors import RetuneError
from retune.models.finite import is_finite
from retune.training.tensor_hashes import tensor_sha256

if TYPE_CHECKING:
    from retune.training.trainers import Trainer


@torch.no_grad()
def describe_weights(
    trainer: "Trainer", earlier: dict[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Return name -> dtype, shape and sha256 of every live weight of the model.

    All ranks must call this: under ZeRO-3 the parameters are gathered, one at a time.
    Ranks that hold the same weights share the hashing.

    Args:
        trainer: Holds them.
        earlier: What this returned before: frozen weights are as they were.

    Raises:
        RetuneError: If weights are not finite.
    """
    mine = []
    for place, (name, weight) in enumerate(trainer.named_weights()):
        if earlier and not weight.requires_grad:
            continue
        sharded = [weight] if hasattr(weight, "ds_id") else []
        with deepspeed.zero.GatheredParameters(sharded):
            if place % trainer.data_world_size == trainer.data_rank:
                mine.append((place, name, describe_tensor(weight)))
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    # The ranks of one pipeline stage follow each other.
    stages = [rank // trainer.data_world_size for rank in range(len(parts))]
    ordered = sorted(
        (stage, place, name, tensor)
        for stage, part in zip(stages, parts, strict=True)
        for place, name, tensor in part
    )
    tensors = {name: tensor for _, _, name, tensor in ordered}
    wrong = [name for name, tensor in tensors.items() if not tensor.pop("is_finite")]
    if wrong:
        raise RetuneError(
            f"{len(wrong)} of {len(tensors)} weights are not finite, {wrong[0]} the"
            " first: nothing was saved; earlier checkpoints are intact. Lower"
            " finetune.learning_rate"
        )
    return {**(earlier or {}), **tensors}


def describe_tensor(tensor: torch.Tensor) -> dict[str, Any]:
    """Return a tensor's dtype, shape, sha256 and whether all of it is finite."""
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "sha256": tensor_sha256(tensor),
        "is_finite": is_finite(tensor),
    }
