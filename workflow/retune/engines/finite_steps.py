"""Takes no optimizer step with gradients that are not finite."""

from collections.abc import Callable
from typing import Any

import torch

from retune.compat.pytorch_foreach import norms


class FiniteSteps(torch.optim.Optimizer):
    """An optimizer that takes no step with gradients that are not finite.

    DeepSpeed's ZeRO optimizers check the gradients themselves; at ZeRO stage 0
    DeepSpeed does not. To be inherited from before the optimizer that takes the steps.

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
