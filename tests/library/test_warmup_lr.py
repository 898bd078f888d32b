"""`lr_scheduler_type: WarmupLR` gives the numbers of DeepSpeed's own class."""

import pytest
import torch
from deepspeed.runtime.lr_schedules import WarmupLR

from retune.settings import FinetuneSettings
from retune.training.schedules import learning_rate


@pytest.mark.parametrize("warmup", [1, 2, 3, 10, 40])
def test_rates_are_those_that_deepspeed_trains_with(warmup):
    settings = FinetuneSettings(
        learning_rate=2e-3, lr_scheduler_type="WarmupLR", warmup_steps=warmup
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = WarmupLR(optimizer, warmup_max_lr=2e-3, warmup_num_steps=warmup)
    for step in range(20):
        rate = optimizer.param_groups[0]["lr"]
        assert learning_rate(settings, step, 20) == pytest.approx(rate, rel=1e-12)
        # As DeepSpeed's engine does after each optimizer step.
        scheduler.step()
