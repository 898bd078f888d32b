"""Figures of the evaluation: base against tuned, as a whole and by document."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from retune.reporting.evaluation_rows import interval
from retune.reporting.figure_style import (
    BASE,
    INK,
    SOFT,
    TUNED,
    VALIDATION,
    figure,
    minus,
)
from retune.reporting.quantities import counted
from retune.reporting.run_results import RunResults, bits_per_byte_of_test

# More points than this only blacken a figure and swell its file.
MOST_POINTS = 1500


def draw_bits_per_byte(run: RunResults, path: Path) -> None:
    """Draw both models' bits per byte on test, beside what is to be beaten."""
    test = run.evaluation["test"]
    base, tuned = (test[name]["bits_per_byte"] for name in ("base", "tuned"))
    low, high = (test[f"bits_per_byte_change_{end}"] for end in ("low", "high"))
    documents = counted(test["tuned"]["documents"], "document")
    floors = {
        "unigram": test["floors"]["unigram_bits_per_byte"],
        "uniform": test["floors"]["uniform_bits_per_byte"],
    }
    subtitle = minus(
        f"Change {test['bits_per_byte_change']:+.3f}, 95 % interval"
        f" {interval(test)}, over {documents}."
    )
    with figure(path, change_title(test), subtitle, height=3.4) as drawing:
        axes = drawing.add_subplot()
        axes.barh(["tuned", "base"], [tuned, base], 0.56, color=[TUNED, BASE])
        axes.errorbar(
            tuned,
            0,
            xerr=[[max(0, tuned - base - low)], [max(0, high - (tuned - base))]],
            color=INK,
            capsize=5,
            linewidth=1.5,
        )
        for row, value in enumerate((tuned, base)):
            axes.annotate(
                f"{value:.3f}",
                (0, row),
                xytext=(10, 0),
                textcoords="offset points",
                color="white",
                weight="bold",
                va="center",
            )
        for value in floors.values():
            axes.axvline(value, color=SOFT, linewidth=1.2, linestyle="--", zorder=0)
        label_floors(axes, floors)
        axes.set_xlim(0, 1.06 * max(base, tuned, *floors.values()))
        axes.set_ylim(-0.5, 1.5)
        axes.set_xlabel("bits per byte of the test documents (lower is better)")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0, labelsize=12, labelcolor=INK)


def label_floors(axes: Axes, floors: dict[str, float]) -> None:
    """Name the floors above their lines, away from each other."""
    sides = (
        ("right", "left")
        if floors["unigram"] < floors["uniform"]
        else ("left", "right")
    )
    for (name, value), side in zip(floors.items(), sides, strict=True):
        axes.annotate(
            f"{name} {value:.2f}",
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3 if side == "left" else -3, 3),
            textcoords="offset points",
            ha=side,
            color=SOFT,
            size=10,
        )


def change_title(test: dict[str, Any]) -> str:
    """Return whether tuning helped, as sure as the interval is."""
    values = (
        f"{test['base']['bits_per_byte']:.2f} to {test['tuned']['bits_per_byte']:.2f}"
    )
    if test["tuned"]["documents"] < 2:
        return f"Too few documents for a sure change in bits per byte: {values}"
    if test["bits_per_byte_change_high"] < 0:
        return f"Tuning lowered bits per byte from {values}"
    if test["bits_per_byte_change_low"] > 0:
        return f"Tuning raised bits per byte from {values}"
    return f"No sure change in bits per byte: {values}"


def draw_documents(run: RunResults, path: Path) -> None:
    """Draw base against tuned for each test document, and the changes."""
    base = bits_per_byte_of_test(run.base_documents)
    tuned = bits_per_byte_of_test(run.tuned_documents)
    better = tuned < base
    share = f"{int(better.sum()):,} of" if not better.all() else "All"
    title = f"{share} {counted(len(base), 'test document')} became easier to predict"
    shown = evenly(len(base), MOST_POINTS)
    subtitle = "Bits per byte; below the diagonal the tuned model is better" + (
        "" if len(shown) == len(base) else f" ({len(shown):,} documents are drawn)"
    )
    with figure(path, title, subtitle, height=4.8) as drawing:
        left, right = drawing.subplots(1, 2)
        ends = [
            0.95 * min(base.min(), tuned.min()),
            1.03 * max(base.max(), tuned.max()),
        ]
        left.plot(ends, ends, color=SOFT, linewidth=1.2, linestyle="--")
        left.scatter(
            base[shown],
            tuned[shown],
            s=16,
            c=np.where(better, TUNED, VALIDATION)[shown],
            alpha=0.5,
            linewidths=0,
        )
        left.set(xlabel="base", ylabel="tuned", xlim=ends, ylim=ends)
        draw_changes(right, tuned - base)


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
    axes.grid(axis="x", visible=False)


def evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced indices of `count` things, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
