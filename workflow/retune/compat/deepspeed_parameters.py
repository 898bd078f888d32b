"""What a parameter is that ZeRO-3 has sharded: DeepSpeed notes it on the parameter.

Uses `ds_id`, `ds_shape` and `ds_numel`, which DeepSpeed sets on each parameter that it
shards: the parameter itself is then empty. Without them, ZeRO-3 would decay no weights,
load no model and count no parameters.
"""

import torch


def is_sharded(weight: torch.Tensor) -> bool:
    """Return whether a weight is sharded over the ranks; a buffer never is."""
    return hasattr(weight, "ds_id")


def whole_shape(weight: torch.Tensor) -> torch.Size:
    """Return the shape of a weight before it was sharded."""
    return getattr(weight, "ds_shape", weight.shape)


def whole_numel(weight: torch.Tensor) -> int:
    """Return the number of a weight's elements before it was sharded."""
    return getattr(weight, "ds_numel", weight.numel())
