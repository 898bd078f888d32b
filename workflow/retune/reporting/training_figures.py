"""Figures of the training: the loss, and what the optimizer did."""

import numpy as np
from matplotlib.figure import Figure

from retune.quantities import counted
from retune.reporting.figure_style import (
    INK,
    TUNED,
    VALIDATION,
    Drawing,
    few_ticks,
    label_ends,
    short,
)
from retune.reporting.run_results import RunResults

# Fraction of the steps that the smoothed training loss is a mean of.
SMOOTHED_FRACTION = 0.05


def loss_figure(run: RunResults) -> Drawing:
    """Return the figure of training and validation loss over the steps."""
    step, train = run.history.step, run.history.train_loss
    validated, validation = run.validation.step, run.validation.validation_loss
    window = max(1, round(SMOOTHED_FRACTION * run.finetune.steps))
    smoothed = running_mean(train, window)

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        if window > 1:
            axes.plot(step, train, "-", color=TUNED, linewidth=1, alpha=0.35)
            axes.plot(step, smoothed, color=TUNED)
        else:
            axes.plot(step, train, line_style(step), color=TUNED)
        axes.plot(
            validated,
            validation,
            color=VALIDATION,
            marker="o",
            markersize=5,
            clip_on=False,
        )
        axes.set(xlabel="optimizer step", ylabel="cross-entropy, nats per token")
        axes.set_xlim(0, step[-1])
        axes.xaxis.set_major_locator(few_ticks(figure, is_integer=True))
        axes.xaxis.set_major_formatter(short)
        axes.yaxis.set_major_formatter(short)
        ends = [(smoothed[np.isfinite(smoothed)][-1], "training", TUNED)]
        ends.append((validation[-1], "validation", VALIDATION))
        label_ends(axes, step[-1], ends)

    return Drawing("loss", loss_title(run), loss_subtitle(window), 3.85, fill)


def line_style(steps: np.ndarray) -> str:
    """Return Matplotlib's format of a curve: a line, but a point for a single step."""
    return "-" if len(steps) > 1 else "o"


def loss_title(run: RunResults) -> str:
    """Return what became of the validation loss."""
    before, after = run.first_validation_loss, run.finetune.validation_loss
    verb = "fell" if after < before else "rose" if after > before else "stayed"
    steps = counted(run.finetune.steps, "step")
    title = f"Validation loss {verb} from {before:,.2f} to {after:,.2f} in {steps}"
    best = run.finetune.best_validation_loss
    return title if best == after else f"{title}; its lowest was {best:,.2f}"


def loss_subtitle(window: int) -> str:
    """Return what the points and the lines are; the window is in steps."""
    return "Points: validation. Line: training" + (
        f", thin as measured, bold as the mean of {counted(window, 'step')}."
        if window > 1
        else "."
    )


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of the `window` values around each; NaN near both ends."""
    padded = np.full(len(values) + window - 1, np.nan)
    start = (window - 1) // 2
    padded[start : start + len(values)] = values
    return np.lib.stride_tricks.sliding_window_view(padded, window).mean(axis=1)


def optimization_figure(run: RunResults) -> Drawing:
    """Return the figure of learning rate, gradient norm and speed over the steps."""
    step, norm = run.history.step, run.history.grad_norm
    limit = run.plan.gradient_clipping
    known = np.isfinite(norm)
    of_norm = "gradient norm" + ("" if known.any() else ": not known at ZeRO stage 0")
    curves = {
        "learning rate": run.history.learning_rate,
        of_norm: norm,
        "tokens/s": run.history.num_labels / run.history.seconds,
    }

    def fill(figure: Figure) -> None:
        panels = figure.subplots(len(curves), 1, sharex=True)
        for axes, (name, values) in zip(panels, curves.items(), strict=True):
            finite = np.where(np.isfinite(values), values, np.nan)
            axes.plot(step, finite, line_style(step), color=TUNED, linewidth=1.5)
            axes.set_title(name, loc="left", size=10.5, color=INK)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(short)
        if limit and np.any(norm[known] > limit / 2):
            panels[1].axhline(limit, color=VALIDATION, linewidth=1.2, linestyle="--")
            label_ends(panels[1], step[-1], [(limit, "clipped\nabove", VALIDATION)])
            panels[2].set_xlabel("optimizer step")
        panels[2].set_xlim(min(1, step[-1] - 1), step[-1])
        panels[2].xaxis.set_major_locator(few_ticks(figure, is_integer=True))
        panels[2].xaxis.set_major_formatter(short)

    subtitle = (
        f"{run.finetune.tokens_per_second:,.0f} tokens/s in the mean, on"
        f" {counted(run.plan.world_size, 'rank')}."
    )
    return Drawing("optimization", clipping_title(norm, limit), subtitle, 5.4, fill)


def clipping_title(norm: np.ndarray, limit: float) -> str:
    """Return in how many steps gradients were clipped, as far as that is known.

    Args:
        norm: Norm of the gradient of each step before clipping, float64 [steps]; not
            finite where it is not known, as in all steps at ZeRO stage 0.
        limit: Norm above which gradients are clipped; 0: they are not clipped.
    """
    if not limit:
        return "Gradients were not clipped"
    known = norm[np.isfinite(norm)]
    if len(known) == 0:
        return f"Gradients were clipped above a norm of {limit:g}; how often is unknown"
    clipped = int(np.sum(known > limit))
    title = f"Gradients were clipped in {clipped:,} of {counted(len(known), 'step')}"
    unknown = len(norm) - len(known)
    return f"{title}; unknown in {unknown:,} more" if unknown else title
