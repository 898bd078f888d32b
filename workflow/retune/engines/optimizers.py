"""AdamW, in 32 or 8 bits, with weight decay on matrices only."""

from typing import Any, TypedDict

import torch
from torch import nn

from retune.artifacts.plan import Plan
from retune.compat.deepspeed_parameters import whole_shape
from retune.engines.finite_steps import FiniteSteps
from retune.planning.bitsandbytes import check_bitsandbytes
from retune.settings import FinetuneSettings

Group = dict[str, Any]


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

    Raises:
        RetuneError: If the plan needs bitsandbytes, which is not installed.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if len(whole_shape(p)) > 1]
    others = [p for p in parameters if len(whole_shape(p)) <= 1]
    groups: list[Group] = [
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
    if plan.optim == "adamw_8bit":
        return build_adamw_8bit(model, groups, options, plan)
    adamw = FiniteAdamW if plan.zero_stage == 0 else torch.optim.AdamW
    # Fused, a step reads memory once instead of once per operation, which is 10 times
    # faster on a CPU.
    return adamw(groups, **options, fused=True)


def build_adamw_8bit(
    model: nn.Module, groups: list[Group], options: AdamOptions, plan: Plan
) -> torch.optim.Optimizer:
    """Return AdamW whose moments of large matrices have 8 bits.

    Args:
        model: The model.
        groups: Groups of its trainable parameters.
        options: Options of all groups.
        plan: The plan of the training.

    Raises:
        RetuneError: If bitsandbytes is not installed.
    """
    check_bitsandbytes(f"configure.optim: {plan.optim}")
    # It takes seconds to import, and is not always installed.
    from retune.engines.adamw_8bit import (
        FiniteAdamW8bit,
        GroupedAdamW8bit,
        groups_in_8_bits,
    )

    adamw = FiniteAdamW8bit if plan.zero_stage == 0 else GroupedAdamW8bit
    return adamw(groups_in_8_bits(model, groups), **options)


class FiniteAdamW(FiniteSteps, torch.optim.AdamW):
    """AdamW that takes no step with gradients that are not finite."""
