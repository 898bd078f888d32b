"""Figures of the evaluation: base against tuned, as a whole and by document."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retune.artifacts.evaluation_metrics import Comparison, ComparisonWithFloors
from retune.quantities import counted, distinct_numbers, number
from retune.reporting.answer import by_name, is_unchanged, verdict_of
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
    figure_of,
    is_narrow,
    minus,
    short,
)
from retune.reporting.run_results import (
    ReportResults,
    RunResults,
    bits_per_byte_of_test,
)
from retune.reporting.terms import TEXTS, Terms

# Number of documents that are drawn at most: more blacken a figure and swell its file.
MOST_POINTS = 1500


def bits_per_byte_figure(run: RunResults) -> Drawing:
    """Return the figure of both models' and the floors' bits per byte on test."""
    test = run.evaluation.test
    bars = bars_of(test)
    ends = [end for bar in bars for end in (bar.length, *(bar.error or ()))]

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_bars(axes, bars, 1.06 * max(ends) or 1)
        axes.set_xlabel(f"{run.terms.measure}, lower is better")

    return Drawing(
        "bits_per_byte",
        change_title(test, run.terms),
        change_subtitle(test, run.terms),
        height=2.6,
        fill=fill,
    )


def bars_of(test: ComparisonWithFloors) -> list[Bar]:
    """Return a bar for each model and floor; the tuned model's has the interval."""
    base, tuned = test.base.bits_per_byte, test.tuned.bits_per_byte
    low = base + test.bits_per_byte_change_low
    high = base + test.bits_per_byte_change_high
    interval = (low, high) if test.tuned.documents > 1 else None
    return [
        Bar("base", 0, base, BASE, (number(base),)),
        Bar("tuned", 0, tuned, TUNED, (number(tuned),), interval),
        *(
            Bar(f"floor: {name}", 0, value, FLOOR, (number(value),))
            for name, value in by_name(test.floors).items()
        ),
    ]


def change_title(test: Comparison, terms: Terms = TEXTS) -> str:
    """Return whether tuning helped, as sure as the interval is.

    Args:
        test: The comparison on test.
        terms: What the documents are called, and the measure of them.
    """
    base, tuned = test.base.bits_per_byte, test.tuned.bits_per_byte
    if is_unchanged(test):
        return f"No change in {terms.measure}: {base:.2f}"
    values = " to ".join(distinct_numbers(base, tuned))
    if test.tuned.documents < 2:
        few = f"Too few {terms.documents}"
        return f"{few} for a sure change in {terms.measure}: {values}"
    return {
        "better": f"Tuning lowered {terms.measure} from {values}",
        "worse": f"Tuning raised {terms.measure} from {values}",
        "unsure": f"No sure change in {terms.measure}: {values}",
    }[verdict_of(test)]


def change_subtitle(test: Comparison, terms: Terms) -> str:
    """Return the change with its interval, if there is one.

    Args:
        test: The comparison on test.
        terms: What the documents are called, and the measure of them.
    """
    documents = test.tuned.documents
    known = f", 95 % interval {interval(test)}" if documents > 1 else ""
    over = f", over {counted(documents, f'test {terms.document}')}."
    return minus(f"Change {test.bits_per_byte_change:+,.3f}") + minus(known) + over


def documents_figure(run: ReportResults) -> Drawing:
    """Return the figure of each test document: base against tuned, and the changes."""
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
        right.set_ylabel(run.terms.documents)

    return Drawing(
        "documents",
        documents_title(better, run.terms),
        f"{run.terms.measure.capitalize()}. Below the diagonal and blue: the tuned"
        " model is better; orange: it is not"
        + (
            "."
            if len(shown) == len(base)
            else f" ({len(shown):,} {run.terms.documents} are drawn)."
        ),
        height=4.05,
        fill=fill,
        narrow_height=7.4,
    )


def documents_title(better: np.ndarray, terms: Terms) -> str:
    """Return how many documents are easier to predict than before.

    Args:
        better: Whether the tuned model predicts a document better, bool [documents].
        terms: What the documents are called.
    """
    if len(better) == 1:
        became = "became easier" if better.all() else "did not become easier"
        return f"The only test {terms.document} {became} to predict"
    how_many = "All" if better.all() else f"{int(better.sum()):,} of"
    return f"{how_many} {len(better):,} test {terms.documents} became easier to predict"


def draw_points(axes: Axes, base: np.ndarray, tuned: np.ndarray) -> None:
    """Draw a point for each document: bits per byte of base and tuned, [documents]."""
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
        axis.set_major_locator(few_ticks(figure_of(axes)))
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
    axes.set(xlabel="change, bits per byte")
    axes.xaxis.set_major_locator(few_ticks(figure_of(axes)))
    axes.xaxis.set_major_formatter(short)
    axes.yaxis.set_major_locator(few_ticks(figure_of(axes), is_integer=True))
    axes.yaxis.set_major_formatter(short)
    axes.grid(axis="x", visible=False)


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced indices of `count` things, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
