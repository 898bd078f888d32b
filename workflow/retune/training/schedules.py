"""How long to train and with which learning rate."""

import math

from retune.quantities import counted
from retune.settings import FinetuneSettings

# Fewer hardly warm up, let alone learn, unless that is what max_steps is for.
FEW_STEPS = 20


def num_steps(settings: FinetuneSettings, num_blocks: int, batch_size: int) -> int:
    """Return the optimizer steps of the run: whole batches only, at least one."""
    steps = max(1, math.floor(settings.epochs * num_blocks / batch_size))
    return min(steps, settings.max_steps or steps)


def find_warnings(
    settings: FinetuneSettings, num_blocks: int, batch_size: int
) -> list[str]:
    """Return what of the run's length is hardly meant, a line each.

    Args:
        settings: With a resolved learning rate.
        num_blocks: Of the training data.
        batch_size: Blocks per optimizer step.
    """
    steps, warmup = num_steps(settings, num_blocks, batch_size), settings.warmup_steps
    warnings = []
    if settings.epochs * num_blocks < batch_size:
        warnings.append(
            f"finetune.epochs: {settings.epochs:g} of {num_blocks:,} blocks is less"
            f" than one batch of {batch_size:,}: the only step trains"
            f" {batch_size / num_blocks:.2g} epochs"
        )
    elif steps < FEW_STEPS and steps != settings.max_steps:
        warnings.append(
            f"finetune.epochs: {settings.epochs:g} of {num_blocks:,} blocks makes only"
            f" {counted(steps, 'step')} of {batch_size:,}: train more"
            " epochs, or lower configure.global_batch_size"
        )
    if warmup is not None and warmup > steps:
        share = learning_rate(settings, steps - 1, steps) / settings.learning_rate
        warnings.append(
            f"finetune.warmup_steps: {warmup:,}, but the run has"
            f" {counted(steps, 'step')}: it ends at {share:.1%} of"
            " finetune.learning_rate"
        )
    return warnings


# Peaks for `learning_rate: auto`: a pre-trained model must not forget, random weights
# have nothing to lose.
PRETRAINED_RATE, RANDOM_RATE = 5e-5, 1.5e-3
# Adapters start as nothing, and can only go so far.
ADAPTER_RATE = 2e-4


def resolve_learning_rate(settings: FinetuneSettings, source: str) -> FinetuneSettings:
    """Return the settings with `learning_rate: auto` replaced."""
    if settings.learning_rate != "auto":
        return settings
    rate = RANDOM_RATE if source == "builtin" else PRETRAINED_RATE
    if settings.lora:
        rate = ADAPTER_RATE
    return settings.model_copy(update={"learning_rate": rate})


def learning_rate(settings: FinetuneSettings, step: int, total: int) -> float:
    """Return the learning rate of optimizer step `step` (from 0) of `total`.

    Linear warm-up to the peak over `warmup_steps`, or `warmup_ratio` of all steps; then
    cosine or linear decay to `min_lr_ratio` of the peak at the last step, or constant.
    `WarmupLR` is DeepSpeed's scheduler of that name (see `log_warmup`).
    """
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = math.ceil(settings.warmup_ratio * total)
    if settings.lr_scheduler_type == "WarmupLR":
        return settings.learning_rate * log_warmup(step, warmup)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.lr_scheduler_type == "constant":
        return settings.learning_rate
    progress = (step - warmup + 1) / max(1, total - warmup)
    left = 1 - progress
    if settings.lr_scheduler_type == "cosine":
        left = (1 + math.cos(math.pi * progress)) / 2
    floor = settings.min_lr_ratio
    return settings.learning_rate * (floor + (1 - floor) * left)


def log_warmup(step: int, warmup: int) -> float:
    """Return the share of the peak that DeepSpeed's WarmupLR gives step `step`.

    log(step) / log(warmup), then 1: DeepSpeed 0.19, runtime/lr_schedules.py, with its
    defaults warmup_min_lr 0 and warmup_type log. Its first two steps have rate 0: it
    starts below its own first step. Without a warm-up, which it refuses, all have 1.
    """
    if warmup == 0:
        return 1.0
    return min(1.0, math.log(max(1, step)) / math.log(max(2, warmup)))
