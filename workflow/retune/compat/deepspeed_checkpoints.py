"""The files that DeepSpeed's `save_checkpoint` writes, and what is in them.

Neither their names nor their content is documented. Without the ones named here,
`consolidate` could not find the weights in a checkpoint, or `finetune.save_only_model`
would leave the optimizer's states in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retune.compat.pytorch_pickles import load_mapped
from retune.errors import RetuneError

WHOLE_MODEL = "mp_rank_00_model_states.pt"
MODEL_SHARD = "zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
# With bf16, DeepSpeed puts `bf16_` in front of the name.
OPTIMIZER_SHARD = "*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
# The files of states that are on NVMe: flat, fp32, padded at the end.
SWAP_FILE = "offloaded_tensors/rank{rank:02d}/{name}.tensor.swp"

# The names of the two moments in the states of Adam, of PyTorch and of DeepSpeed.
MOMENTS = ("exp_avg", "exp_avg_sq")
# What bitsandbytes puts its moments into, with all that is needed to read them.
MOMENTS_OF_BITSANDBYTES = "__bnb_optimizer_quant_state__"


@dataclass(frozen=True)
class ModelShard:
    """What a rank saved of a model that ZeRO-3 has sharded; all tensors are mapped.

    Attributes:
        buffers: Name -> buffer, whole.
        frozen: Name -> this rank's partition of a frozen parameter, flat.
        frozen_shapes: Name -> shape of the whole frozen parameter.
        group_shapes: For each sub-group of trained parameters, name -> shape of the
            whole parameter, in the order of its partitions in the master weights.
    """

    buffers: Mapping[str, torch.Tensor]
    frozen: Mapping[str, torch.Tensor]
    frozen_shapes: Mapping[str, torch.Size]
    group_shapes: tuple[Mapping[str, torch.Size], ...]


def swap_file(checkpoint: Path, rank: int, name: str) -> Path:
    """Return the file in which a rank has swapped out a tensor.

    Args:
        checkpoint: Folder of the checkpoint.
        rank: The rank.
        name: `ds_id` of a sub-group's weights, or `exp_avg-` and so on before it.
    """
    return checkpoint / SWAP_FILE.format(rank=rank, name=name)


def read_whole_model(path: Path) -> Mapping[str, torch.Tensor] | None:
    """Return the weights of a model that is not sharded, mapped; None of a pipeline.

    Uses the key `module` of the file; a pipeline's weights are in files of its layers.
    """
    return load_mapped(path).get("module")


def read_model_shard(checkpoint: Path, rank: int) -> ModelShard:
    """Return what a rank saved of its model.

    Uses the keys `module`, `buffer_names`, `frozen_param_fragments`,
    `frozen_param_shapes` and `param_shapes` of the file.
    """
    states = load_mapped(checkpoint / MODEL_SHARD.format(rank=rank))
    return ModelShard(
        buffers={name: states["module"][name] for name in states["buffer_names"]},
        frozen=states["frozen_param_fragments"] or {},
        frozen_shapes=states["frozen_param_shapes"] or {},
        group_shapes=tuple(states["param_shapes"]),
    )


def read_master_weights(checkpoint: Path, rank: int) -> list[torch.Tensor]:
    """Return a rank's fp32 weights, one flat tensor per sub-group, mapped.

    Uses the keys `optimizer_state_dict` and `fp32_flat_groups` of the file, and `ds_id`
    of tensors that were swapped out.

    Raises:
        RetuneError: If there is no such file, or it has no such weights.
    """
    pattern = OPTIMIZER_SHARD.format(rank=rank)
    paths = list(checkpoint.glob(pattern))
    if len(paths) != 1:
        raise RetuneError(f"{checkpoint}: {len(paths)} files {pattern} instead of one")
    states = load_mapped(paths[0]).get("optimizer_state_dict", {})
    if "fp32_flat_groups" not in states:
        raise RetuneError(f"{paths[0]} has no fp32_flat_groups: it is not of ZeRO-3")
    return [
        map_swapped(swap_file(checkpoint, rank, str(group.ds_id)), group.dtype)
        if group.numel() == 0 and hasattr(group, "ds_id")
        else group.detach()
        for group in states["fp32_flat_groups"]
    ]


def map_swapped(path: Path, dtype: torch.dtype) -> torch.Tensor:
    """Return what was swapped out to a file, and the padding after it."""
    numel = path.stat().st_size // dtype.itemsize
    return torch.from_file(str(path), shared=False, size=numel, dtype=dtype)


def is_swapped_moment(path: Path) -> bool:
    """Return whether a file of a checkpoint is a moment that was swapped out."""
    return path.name.startswith(tuple(f"{moment}-" for moment in MOMENTS))


def drop_moments(state: Any) -> bool:
    """Remove the moments from nested containers; return whether there were any."""
    if isinstance(state, list | tuple):
        return any([drop_moments(value) for value in state])
    if not isinstance(state, dict):
        return False
    keys = (*MOMENTS, MOMENTS_OF_BITSANDBYTES)
    found = [key for key in keys if state.pop(key, None) is not None]
    return any([drop_moments(value) for value in state.values()]) or bool(found)
