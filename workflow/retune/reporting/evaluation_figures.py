"""Figures of the evaluation: base against tuned, as a whole and by document."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retune.quantities import counted, number, told_apart
from retune.reporting.answer import verdict_of
from retune.reporting.bars import Bar, draw_bars
from retune.reporting.evaluation_rows import interval
from retune.reporting.figure_style import (
    BASE,
    FLOOR,
    SOFT,
    TUNED,
    VALIDATION,
    Drawing,
    few_ticks,
    is_narrow,
    minus,
    short,
)
from retune.reporting.run_results import RunResults, bits_per_byte_of_test

# More points than this only blacken a figure and swell its file.
MOST_POINTS = 1500


def bits_per_byte_figure(run: RunResults) -> Drawing:
    """Return both models' bits per byte on test, beside what is to be beaten."""
    test = run.evaluation["test"]
    bars = bars_of(test)
    ends = [end for bar in bars for end in (bar.length, *(bar.error or ()))]

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_bars(axes, bars, 1.06 * max(ends) or 1)
        axes.set_xlabel("bits per byte, lower is better")

    return Drawing(
        "bits_per_byte",
        change_title(test),
        change_subtitle(test),
        height=2.6,
        fill=fill,
    )


def bars_of(test: dict[str, Any]) -> list[Bar]:
    """Return a bar for each model and floor; the tuned model's has the interval."""
    base, tuned = (test[name]["bits_per_byte"] for name in ("base", "tuned"))
    has_interval = test["tuned"]["documents"] > 1
    ends = tuple(base + test[f"bits_per_byte_change_{end}"] for end in ("low", "high"))
    bars = [
        Bar("base", 0, base, BASE, (number(base),)),
        Bar("tuned", 0, tuned, TUNED, (number(tuned),), ends if has_interval else None),
    ]
    for name in ("unigram", "uniform"):
        value = test["floors"][f"{name}_bits_per_byte"]
        bars.append(Bar(f"floor: {name}", 0, value, FLOOR, (number(value),)))
    return bars


def change_title(test: dict[str, Any]) -> str:
    """Return whether tuning helped, as sure as the interval is."""
    base, tuned = (test[name]["bits_per_byte"] for name in ("base", "tuned"))
    if base == tuned:
        return f"No change in bits per byte: {base:.2f}"
    values = " to ".join(told_apart(base, tuned))
    if test["tuned"]["documents"] < 2:
        return f"Too few documents for a sure change in bits per byte: {values}"
    return {
        "better": f"Tuning lowered bits per byte from {values}",
        "worse": f"Tuning raised bits per byte from {values}",
        "unsure": f"No sure change in bits per byte: {values}",
    }[verdict_of(test)]


def change_subtitle(test: dict[str, Any]) -> str:
    """Return the change with its interval, if there is one."""
    documents = test["tuned"]["documents"]
    known = f", 95 % interval {interval(test)}" if documents > 1 else ""
    over = f", over {counted(documents, 'test document')}."
    return minus(f"Change {test['bits_per_byte_change']:+,.3f}") + minus(known) + over


def documents_figure(run: RunResults) -> Drawing:
    """Return base against tuned for each test document, and the changes."""
    base = bits_per_byte_of_test(run.base_documents)
    tuned = bits_per_byte_of_test(run.tuned_documents)
    better = tuned < base
    shown = evenly(len(base), MOST_POINTS)

    def fill(figure: Figure) -> None:
        left, right = (
            figure.subplots(2, 1) if is_narrow(figure) else figure.subplots(1, 2)
        )
        draw_points(left, base[shown], tuned[shown])
        draw_changes(right, tuned - base)

    return Drawing(
        "documents",
        documents_title(better),
        "Bits per byte. Below the diagonal and blue: the tuned model is better;"
        " orange: it is not"
        + (
            "."
            if len(shown) == len(base)
            else f" ({len(shown):,} documents are drawn)."
        ),
        height=4.05,
        fill=fill,
        narrow_height=7.4,
    )


def documents_title(better: np.ndarray) -> str:
    """Return how many documents are easier to predict than before."""
    if len(better) == 1:
        became = "became easier" if better.all() else "did not become easier"
        return f"The only test document {became} to predict"
    share = "All" if better.all() else f"{int(better.sum()):,} of"
    return f"{share} {len(better):,} test documents became easier to predict"


def draw_points(axes: Axes, base: np.ndarray, tuned: np.ndarray) -> None:
    """Draw a point for each document."""
    ends = [0.95 * min(base.min(), tuned.min()), 1.03 * max(base.max(), tuned.max())]
    if ends[0] == ends[1]:
        ends = [ends[0] - 1, ends[1] + 1]
    axes.plot(ends, ends, color=SOFT, linewidth=1.2, linestyle="--")
    axes.scatter(
        base,
        tuned,
        s=16 if len(base) > 20 else 36,
        c=np.where(tuned < base, TUNED, VALIDATION),
        alpha=0.5,
        linewidths=0,
    )
    axes.set(xlabel="base", ylabel="tuned", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(few_ticks(axes.figure))
        axis.set_major_formatter(short)


def draw_changes(axes: Axes, changes: np.ndarray) -> None:
    """Draw how the documents' changes in bits per byte are distributed."""
    low, high = min(changes.min(), 0), max(changes.max(), 0)
    edges = np.linspace(low, high, 31) if high > low else np.linspace(-1, 1, 31)
    counts, edges = np.histogram(changes, edges)
    middles = (edges[:-1] + edges[1:]) / 2
    axes.bar(
        middles,
        counts,
        0.9 * np.diff(edges),
        color=np.where(middles < 0, TUNED, VALIDATION),
    )
    axes.axvline(0, color=SOFT, linewidth=1.2, linestyle="--")
    axes.set(xlabel="change, bits per byte", ylabel="documents")
    axes.xaxis.set_major_locator(few_ticks(axes.figure))
    axes.xaxis.set_major_formatter(short)
    axes.yaxis.set_major_locator(few_ticks(axes.figure, is_integer=True))
    axes.yaxis.set_major_formatter(short)
    axes.grid(axis="x", visible=False)


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced indices of `count` things, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
