"""AdamW, with weight decay on matrices only."""

from typing import Any

import torch
from torch import nn

from retune.settings import FinetuneSettings


def build_optimizer(
    model: nn.Module, settings: FinetuneSettings, plan: dict[str, Any]
) -> torch.optim.Optimizer:
    """Return AdamW over the model's trainable parameters.

    A client optimizer: the one DeepSpeed would make from its config compiles C++ at
    the first start. Only offloading needs DeepSpeed's own.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Under ZeRO-3 a shard has lost its shape; ds_shape remembers it.
    matrices = [p for p in parameters if len(getattr(p, "ds_shape", p.shape)) > 1]
    others = [p for p in parameters if len(getattr(p, "ds_shape", p.shape)) <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    options = {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
    }
    # One pass over memory instead of one per operation: 10 times faster on a CPU.
    fused = {"fused": True}
    groups = [group for group in groups if group["params"]]
    if plan["offload_optimizer"] != "none":
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        return DeepSpeedCPUAdam(groups, **options)
    if plan["zero_stage"] == 0:
        return FiniteAdamW(groups, **options, **fused)
    return torch.optim.AdamW(groups, **options, **fused)


class FiniteAdamW(torch.optim.AdamW):
    """AdamW that takes no step with gradients that are not finite.

    DeepSpeed's ZeRO optimizers do so themselves; at stage 0 nobody does. The engine
    counts a step as skipped by `overflow`.
    """

    overflow = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step, or set `overflow` and leave everything as it is."""
        gradients = [
            parameter.grad
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        # Every rank holds the same averaged gradients, so all decide alike.
        norms = torch._foreach_norm(gradients)
        self.overflow = not torch.stack(norms).isfinite().all().item()
        return None if self.overflow else super().step(closure)
