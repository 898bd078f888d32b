"""Loading a ZeRO-3 optimizer whose states DeepSpeed 0.19 keeps on a local disk.

Uses, of DeepSpeed's ZeRO-3 optimizer, `fp32_partitioned_groups_flat`, `optimizer`,
`_partition_all_parameters`, `_swappable_optimizer_subgroup`,
`_optimizer_states_and_gradient_swap_in`,
`_reassign_or_swap_out_partitioned_parameters`,
`_release_sub_group` and `_post_step`; `zero_nvme_offload_optimizer` of the engine; and
the names and the content of the files in a checkpoint. Without these, a training with
`configure.offload_optimizer: nvme` could not be resumed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch

from retune.compat.deepspeed_checkpoints import MOMENTS, OPTIMIZER_SHARD, swap_file


@torch.no_grad()
def load_swapped(engine: deepspeed.DeepSpeedEngine, checkpoint: Path) -> None:
    """Finish what DeepSpeed begins when it loads an optimizer that is on a disk.

    DeepSpeed copies the swap files from the checkpoint and stops there. The model's
    weights do not follow, nor does what was too small to be swapped, nor the step
    count: training would go on from the base model. Of any other engine nothing is
    changed.

    Args:
        engine: The engine, after its `load_checkpoint`.
        checkpoint: Folder of the checkpoint, whose files were verified.
    """
    if not engine.zero_nvme_offload_optimizer():
        return
    zero = engine.optimizer
    rank = dist.get_rank()
    saved = read_optimizer(checkpoint, rank)
    zero._partition_all_parameters()
    for number, group in enumerate(zero.fp32_partitioned_groups_flat):
        load_group(zero, number, group, saved, checkpoint, rank)
    zero._post_step(set())


def read_optimizer(checkpoint: Path, rank: int) -> Mapping[str, Any]:
    """Return what a rank saved of its optimizer."""
    (path,) = checkpoint.glob(OPTIMIZER_SHARD.format(rank=rank))
    # The pickle is one of ours: the manifest was checked.
    saved = torch.load(path, map_location="cpu", weights_only=False)
    return saved["optimizer_state_dict"]


def load_group(
    zero: Any,
    number: int,
    group: Any,
    saved: Mapping[str, Any],
    checkpoint: Path,
    rank: int,
) -> None:
    """Give a sub-group of parameters its fp32 weights, moments and step count.

    Args:
        zero: DeepSpeed's ZeRO-3 optimizer.
        number: Number of the sub-group, from 0.
        group: This rank's partitions of it, a flat fp32 tensor, which DeepSpeed has
            given a `ds_id`; empty if they are swapped out.
        saved: What the rank saved of its optimizer.
        checkpoint: Folder of the checkpoint.
        rank: This rank.
    """
    states = saved["optimizer_state_dict"]["state"][number]
    state = zero.optimizer.state[group]
    state["step"] = states["step"]
    is_swapped = zero._swappable_optimizer_subgroup(number)
    if is_swapped:
        zero._optimizer_states_and_gradient_swap_in(number)
    else:
        group.copy_(saved["fp32_flat_groups"][number])
    for moment in MOMENTS:
        if is_swapped:
            file = swap_file(checkpoint, rank, f"{moment}-{group.ds_id}")
            # The file is padded at its end.
            values = torch.from_file(str(file), size=group.numel(), dtype=group.dtype)
        else:
            values = states[moment]
        state[moment] = values.clone()
    zero._reassign_or_swap_out_partitioned_parameters(number)
    zero._release_sub_group(number, set())
