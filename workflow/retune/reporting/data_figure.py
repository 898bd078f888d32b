"""The figure of the data: what became of the raw documents."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from retune.reporting.figure_style import (
    BASE,
    INK,
    KEPT,
    SOFT,
    VALIDATION,
    figure,
    minus,
)
from retune.reporting.quantities import counted, percent
from retune.reporting.run_results import RunResults

UNKNOWN = "not looked for"


def draw_data(run: RunResults, path: Path) -> None:
    """Draw what became of the raw documents."""
    data, tokens = run.data, run.tokens["splits"]
    total, kept = run.raw_documents, sum(data["documents"].values())
    removed = {
        "rejected": data["rejected"]["count"],
        "duplicates": data["duplicates_removed"],
        "overlap": sum(data["overlap"]["removed"].values()),
    }
    bars = [Bar("raw", 0, total, BASE, counted(total, "document"))]
    end = total
    for name, count in removed.items():
        end -= count
        share = f"{minus(f'-{count:,}')} ({percent(count / total)})"
        nothing = "none" if name != "overlap" or data["overlap"]["words"] else UNKNOWN
        bars.append(Bar(name, end, count, VALIDATION, share if count else nothing))
    start = 0
    for split, count in data["documents"].items():
        label = f"{counted(count, 'document')}, {tokens[split]['tokens']:,} tokens"
        bars.append(Bar(split, start, count, KEPT, label))
        start += count
    share = "All" if kept == total else f"{kept:,} of"
    title = f"{share} {counted(total, 'document')} were kept"
    subtitle = "Grey: brought here. Red: removed. Green: kept"
    with figure(path, title, subtitle, height=4.4) as drawing:
        draw_bars(drawing.add_subplot(), bars, total)


class Bar(NamedTuple):
    """Documents from `start` on, in their order; `label` goes to the right."""

    name: str
    start: int
    length: int
    color: str
    label: str


def draw_bars(axes: Axes, bars: Sequence[Bar], total: int) -> None:
    """Draw bars below each other, along `total` documents."""
    for row, bar in enumerate(bars):
        # The edge keeps a bar visible that is thinner than a pixel.
        axes.barh(
            row,
            bar.length,
            0.6,
            left=bar.start,
            color=bar.color,
            edgecolor=bar.color,
            linewidth=1 if bar.length else 0,
        )
        axes.annotate(
            bar.label,
            (bar.start + bar.length, row),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=INK if bar.length else SOFT,
        )
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.5 * total)
    ticks = MaxNLocator(nbins=5, integer=True).tick_values(0, total)
    axes.set_xticks([tick for tick in ticks if tick <= total])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("documents", loc="left")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelsize=11, labelcolor=INK)
