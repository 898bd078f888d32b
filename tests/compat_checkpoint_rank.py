"""A process in which one rank saves checkpoints, for contract tests.

Run as `python tests/compat_checkpoint_rank.py FOLDER`: writes FOLDER/zero1 and
FOLDER/zero3, beside each its live weights, and prints which private names there are.
"""

import json
import sys
from pathlib import Path

import deepspeed
import torch
import torch.distributed
from torch import nn

from retune.compat.deepspeed_operators import forgo_shared_memory_collectives

ZERO3_NAMES = (
    *("_partition_all_parameters", "_swappable_optimizer_subgroup"),
    *("_optimizer_states_and_gradient_swap_in", "_release_sub_group", "_post_step"),
    "_reassign_or_swap_out_partitioned_parameters",
    *("fp32_partitioned_groups_flat", "optimizer", "param_groups"),
)


class Model(nn.Module):
    """A trained layer, a frozen one and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Linear(5, 3)
        self.frozen = nn.Linear(3, 4, bias=False).requires_grad_(False)
        self.register_buffer("scale", torch.full((1,), 0.5))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scale * self.frozen(self.trained(inputs)).sum()


def save(folder: Path, stage: int) -> dict[str, bool]:
    """Take a step, save, and return which names the engine and optimizer have."""
    torch.manual_seed(0)
    model = Model()
    trained = [p for p in model.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(trained),
        config={
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        },
    )
    engine.backward(engine(torch.ones(2, 5)))
    engine.step()
    parameters = list(engine.module.parameters())
    with deepspeed.zero.GatheredParameters(parameters, enabled=stage == 3):
        live = {n: t.detach().clone() for n, t in engine.module.named_parameters()}
    torch.save(live, folder / f"zero{stage}-live.pt")
    engine.save_checkpoint(str(folder), tag=f"zero{stage}", save_latest=False)
    there = {"engine.zero_nvme_offload_optimizer": has_offload_query(engine)}
    if stage == 3:
        zero = engine.optimizer
        there |= {f"zero3.{name}": hasattr(zero, name) for name in ZERO3_NAMES}
        groups = zero.fp32_partitioned_groups_flat
        there["zero3.fp32_partitioned_groups_flat[i].ds_id"] = all(
            hasattr(group, "ds_id") for group in groups
        )
        states = zero.optimizer.state.values()
        there["zero3.optimizer.state[...]['step']"] = all("step" in s for s in states)
    engine.destroy()
    return there


def has_offload_query(engine: deepspeed.DeepSpeedEngine) -> bool:
    """Return whether the engine says that nothing of it is on NVMe."""
    query = getattr(engine, "zero_nvme_offload_optimizer", None)
    return query is not None and not query()


if __name__ == "__main__":
    forgo_shared_memory_collectives()
    deepspeed.init_distributed(verbose=False)
    target = Path(sys.argv[1])
    names = save(target, 1) | save(target, 3)
    print("\n" + json.dumps(names), flush=True)
    torch.distributed.destroy_process_group()
