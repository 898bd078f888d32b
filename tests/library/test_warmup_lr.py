"""`WarmupLR` and `WarmupDecayLR` give the numbers of DeepSpeed's own classes."""

import pytest
import torch
from deepspeed.runtime.lr_schedules import WarmupDecayLR, WarmupLR

from retune.settings import FinetuneSettings
from retune.training.schedules import learning_rate

STEPS = 20


@pytest.mark.parametrize("kind", [WarmupLR, WarmupDecayLR])
@pytest.mark.parametrize("warmup", [1, 2, 3, 10, 40])
def test_rates_are_those_that_deepspeed_trains_with(warmup, kind):
    settings = FinetuneSettings(
        learning_rate=2e-3, lr_scheduler_type=kind.__name__, warmup_steps=warmup
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    options = {"total_num_steps": STEPS} if kind is WarmupDecayLR else {}
    scheduler = kind(optimizer, warmup_max_lr=2e-3, warmup_num_steps=warmup, **options)
    for step in range(STEPS):
        rate = optimizer.param_groups[0]["lr"]
        assert learning_rate(settings, step, STEPS) == pytest.approx(rate, rel=1e-12)
        # As DeepSpeed's engine does after each optimizer step.
        scheduler.step()
