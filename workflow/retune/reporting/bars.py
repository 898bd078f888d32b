"""Horizontal bars with labels that stay within the axes at any width."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from retune.reporting.figure_style import (
    FLOOR,
    INK,
    SOFT,
    few_ticks,
    figure_of,
    short,
    size_in_points,
    text_width,
)

# Size of a label's letters, points.
LABEL_SIZE = 11
# Distance from a bar's end to its label, points.
GAP = 8


class Bar(NamedTuple):
    """A horizontal bar.

    Attributes:
        name: Name at the left of the axes.
        start: Value where the bar begins.
        length: Length of the bar.
        color: Color of the bar.
        labels: Labels, the longest first; the first one that fits is written.
        error: Ends of the error bar; None: there is none.
    """

    name: str
    start: float
    length: float
    color: str
    labels: tuple[str, ...]
    error: tuple[float, float] | None = None


def draw_bars(axes: Axes, bars: Sequence[Bar], end: float) -> None:
    """Draw bars on an axis from 0 to `end`."""
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
        if bar.error:
            low, high = bar.error
            axes.plot([low, high], [row, row], color=INK, linewidth=1.5)
            axes.plot([low, high], [row, row], "|", color=INK, markersize=10)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(few_ticks(figure_of(axes)))
    axes.xaxis.set_major_formatter(short)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelsize=11, labelcolor=INK)
    scale = size_in_points(axes)[0] / end
    for row, bar in enumerate(bars):
        write_label(axes, row, bar, scale)


def write_label(axes: Axes, row: int, bar: Bar, scale: float) -> None:
    """Write a label into a bar, or right or left of it, where there is space.

    Args:
        axes: Axes with the bars.
        row: Number of the bar from the top.
        bar: Bar to label.
        scale: Number of points for one unit of the bar's length.
    """
    low, high = bar.error or (bar.start + bar.length,) * 2
    end = bar.start + bar.length
    inside = scale * (min(low, end) - bar.start)
    right = scale * (axes.get_xlim()[1] - max(end, high))
    left = scale * bar.start
    longest = max(inside, right, left)
    widths = {
        text: text_width(text, LABEL_SIZE, "bold") + 2 * GAP for text in bar.labels
    }
    label = next(
        (text for text in bar.labels if widths[text] <= longest), bar.labels[-1]
    )
    if widths[label] <= inside:
        x, shift, side = bar.start, GAP, "left"
        color = INK if bar.color == FLOOR else "white"
    else:
        color = INK if bar.length else SOFT
        if widths[label] <= right or right >= left:
            x, shift, side = max(end, high), GAP, "left"
        else:
            x, shift, side = bar.start, -GAP, "right"
    axes.annotate(
        label,
        (x, row),
        xytext=(shift, 0),
        textcoords="offset points",
        va="center",
        ha=side,
        size=LABEL_SIZE,
        color=color,
        weight="bold" if widths[label] <= inside else "normal",
        annotation_clip=False,
    )
