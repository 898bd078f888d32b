"""Loading an optimizer that was offloaded to a local disk."""

from pathlib import Path

import deepspeed
import deepspeed.comm as dist
import torch


@torch.no_grad()
def load_swapped(engine: deepspeed.DeepSpeedEngine, folder: Path) -> None:
    """Finish what DeepSpeed 0.19 begins when it loads an optimizer that is on disk.

    It copies the swap files from the checkpoint and stops there: neither do the
    model's weights follow, nor what was too small to be swapped, nor the step count,
    and training would go on from the base model.
    """
    zero = engine.optimizer
    rank = dist.get_rank()
    # Only ours are read: the manifest was checked.
    (path,) = folder.glob(f"*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    saved = torch.load(path, map_location="cpu", weights_only=False)
    saved = saved["optimizer_state_dict"]
    states = saved["optimizer_state_dict"]["state"]
    swapped = folder / "offloaded_tensors" / f"rank{rank:02d}"
    zero._partition_all_parameters()
    for number, group in enumerate(zero.fp32_partitioned_groups_flat):
        state = zero.optimizer.state[group]
        state["step"] = states[number]["step"]
        swaps = zero._swappable_optimizer_subgroup(number)
        if swaps:
            zero._optimizer_states_and_gradient_swap_in(number)
        else:
            group.copy_(saved["fp32_flat_groups"][number])
        for moment in ("exp_avg", "exp_avg_sq"):
            file = swapped / f"{moment}-{group.ds_id}.tensor.swp"
            values = read_swap_file(file, group) if swaps else states[number][moment]
            state[moment] = values.clone()
        zero._reassign_or_swap_out_partitioned_parameters(number)
        zero._release_sub_group(number, set())
    zero._post_step(set())


def read_swap_file(path: Path, like: torch.Tensor) -> torch.Tensor:
    """Return what DeepSpeed swapped out, as long as `like`; the file is padded."""
    return torch.from_file(str(path), size=like.numel(), dtype=like.dtype)
