"""The number of optimizer steps of a training, and the learning rate of each."""

import math

from retune.quantities import counted, percent
from retune.settings import FinetuneSettings

# With fewer optimizer steps a model hardly learns. It is no mistake if `max_steps` asks
# for them.
FEW_STEPS = 20


def num_steps(settings: FinetuneSettings, num_blocks: int, batch_size: int) -> int:
    """Return the number of optimizer steps of a run: whole batches, at least one.

    Args:
        settings: The `finetune` section.
        num_blocks: Number of training blocks that an epoch reads.
        batch_size: Number of blocks per optimizer step.
    """
    steps = max(1, math.floor(settings.epochs * num_blocks / batch_size))
    return min(steps, settings.max_steps or steps)


def find_warnings(
    settings: FinetuneSettings, num_blocks: int, batch_size: int
) -> list[str]:
    """Return what of a run's length is probably a mistake, a line each.

    Args:
        settings: The `finetune` section, with the learning rate resolved.
        num_blocks: Number of training blocks that an epoch reads.
        batch_size: Number of blocks per optimizer step.
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
        rate = learning_rate(settings, steps - 1, steps)
        reached = rate / settings.peak_learning_rate
        warnings.append(
            f"finetune.warmup_steps: {warmup:,}, but the run has"
            f" {counted(steps, 'step')}: it ends at {reached:.1%} of"
            " finetune.learning_rate"
        )
    return warnings


# Learning rate below which a step of Adam changes less than a third of the weights, if
# they are in bf16 and have a standard deviation of 0.02. A step changes a weight from
# 1/64 to 1/32 if it is larger than 1/512 of 1/64, half the distance of two numbers
# there.
LOST_IN_BF16 = 2**-15


def bf16_warnings(
    settings: FinetuneSettings, bf16_optimizer_states: bool, total: int
) -> list[str]:
    """Return that most steps would be lost to the rounding of bf16, if so.

    Args:
        settings: The `finetune` section, with the learning rate resolved.
        bf16_optimizer_states: Whether there is no fp32 copy of the weights.
        total: Number of optimizer steps of the run.
    """
    if not bf16_optimizer_states or settings.lora:
        return []
    rates = [learning_rate(settings, step, total) for step in range(total)]
    lost = sum(rate < LOST_IN_BF16 for rate in rates) / total
    if lost <= 1 / 2:
        return []
    return [
        f"configure.bf16_optimizer_states: true, but in {percent(lost)} of the steps"
        f" the learning rate is below {LOST_IN_BF16:.1g}, where a step changes less"
        " than a third of the weights in bf16: write false, or raise"
        " finetune.learning_rate or min_lr_ratio"
    ]


# Peak learning rates of `learning_rate: auto`. A pre-trained model must not forget what
# it knows; random weights have nothing to forget; adapters start from zero and change
# the model little.
PRETRAINED_RATE, RANDOM_RATE, ADAPTER_RATE = 5e-5, 1.5e-3, 2e-4


def resolve_learning_rate(settings: FinetuneSettings, source: str) -> FinetuneSettings:
    """Return the settings with `learning_rate: auto` replaced by a number.

    Args:
        settings: The `finetune` section.
        source: Where the base model came from; `builtin` is the built-in model.
    """
    if settings.learning_rate != "auto":
        return settings
    rate = RANDOM_RATE if source == "builtin" else PRETRAINED_RATE
    if settings.lora:
        rate = ADAPTER_RATE
    return settings.model_copy(update={"learning_rate": rate})


def learning_rate(settings: FinetuneSettings, step: int, total: int) -> float:
    """Return the learning rate of an optimizer step.

    It rises linearly to the peak over `warmup_steps`, or over `warmup_ratio` of all
    steps. Then it decays, as a cosine or linearly, to `min_lr_ratio` of the peak at the
    last step, or it stays constant. `WarmupLR` and `WarmupDecayLR` are DeepSpeed's
    schedulers of these names (see `log_warmup` and `decay_to_zero`).

    Args:
        settings: The `finetune` section, with the learning rate resolved.
        step: Number of optimizer steps done before.
        total: Number of optimizer steps of the run.
    """
    peak = settings.peak_learning_rate
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = math.ceil(settings.warmup_ratio * total)
    if settings.lr_scheduler_type == "WarmupLR":
        return peak * log_warmup(step, warmup)
    if settings.lr_scheduler_type == "WarmupDecayLR":
        return peak * log_warmup(step, warmup) * decay_to_zero(step, warmup, total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if settings.lr_scheduler_type == "constant":
        return peak
    progress = (step - warmup + 1) / max(1, total - warmup)
    left = 1 - progress
    if settings.lr_scheduler_type == "cosine":
        left = (1 + math.cos(math.pi * progress)) / 2
    floor = settings.min_lr_ratio
    return peak * (floor + (1 - floor) * left)


def log_warmup(step: int, warmup: int) -> float:
    """Return the learning rate of DeepSpeed's WarmupLR as a fraction of the peak.

    It is log(step) / log(warmup), and 1 after the warm-up: DeepSpeed 0.19,
    runtime/lr_schedules.py, with its defaults warmup_min_lr 0 and warmup_type log. The
    first two steps have rate 0. Without a warm-up, which DeepSpeed refuses, all steps
    have the peak.

    Args:
        step: Number of optimizer steps done before.
        warmup: Number of warm-up steps.
    """
    if warmup == 0:
        return 1.0
    return min(1.0, math.log(max(1, step)) / math.log(max(2, warmup)))


def decay_to_zero(step: int, warmup: int, total: int) -> float:
    """Return what DeepSpeed's WarmupDecayLR multiplies the rate of WarmupLR with.

    It is 1 in the warm-up, of at least two steps, and then falls on a line that reaches
    0 one step after the last.

    Args:
        step: Number of optimizer steps done before.
        warmup: Number of warm-up steps.
        total: Number of optimizer steps of the run.
    """
    warmup = max(2, warmup)
    if step <= warmup:
        return 1.0
    return max(0.0, (total - step + 1) / max(1, total - warmup))
