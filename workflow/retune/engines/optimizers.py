"""AdamW, with weight decay on matrices only."""

from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch import nn

from retune.artifacts.plan import Plan
from retune.compat.deepspeed_parameters import whole_shape
from retune.compat.pytorch_foreach import norms
from retune.settings import FinetuneSettings


class AdamOptions(TypedDict):
    """Options that all implementations of AdamW take."""

    lr: float
    betas: tuple[float, float]
    eps: float


def build_optimizer(
    model: nn.Module, settings: FinetuneSettings, plan: Plan
) -> torch.optim.Optimizer:
    """Return AdamW over the model's trainable parameters.

    The optimizer is made here and not by DeepSpeed from its config: DeepSpeed's own
    compile C++ at the first start. Only offloading needs DeepSpeed's.

    Args:
        model: The model, whole or one stage of a pipeline; under ZeRO-3 with its
            parameters sharded.
        settings: The `finetune` section, with the learning rate resolved.
        plan: The plan of the training.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if len(whole_shape(p)) > 1]
    others = [p for p in parameters if len(whole_shape(p)) <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    options: AdamOptions = {
        "lr": settings.peak_learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
    }
    if plan.offload_optimizer != "none":
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        return DeepSpeedCPUAdam(groups, **options)
    adamw = FiniteAdamW if plan.zero_stage == 0 else torch.optim.AdamW
    # Fused, a step reads memory once instead of once per operation, which is 10 times
    # faster on a CPU.
    return adamw(groups, **options, fused=True)


class FiniteAdamW(torch.optim.AdamW):
    """AdamW that takes no step with gradients that are not finite.

    DeepSpeed's ZeRO optimizers check the gradients themselves; at ZeRO stage 0
    DeepSpeed does not.

    Attributes:
        overflow: Whether the last step was not taken. DeepSpeed's engine reads it, and
            counts such a step as skipped.
    """

    overflow = False

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take a step, or set `overflow` and leave parameters and moments unchanged."""
        gradients = [
            parameter.grad
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        # Every rank holds the same averaged gradients, so all ranks decide alike.
        self.overflow = not torch.stack(norms(gradients)).isfinite().all().item()
        return None if self.overflow else super().step(closure)
