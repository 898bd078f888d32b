"""The style of every figure, and SVG that is the same bytes for the same run."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

# Blue, vermilion and green of Okabe and Ito's colours, which colour-blind readers
# can distinguish. A colour means the same in every figure. Texts call vermilion orange,
# which is what people see.
TUNED = "#0072B2"
VALIDATION = "#D55E00"
KEPT = "#009E73"
BASE = "#7B8794"
FLOOR = "#CBD2D9"
INK = "#1F2933"
SOFT = "#616E7C"
GRID = "#E4E7EB"

FAMILY = "DejaVu Sans"
STYLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "retune",
    "font.family": FAMILY,
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": "#9AA5B1",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}
# Points per inch.
POINTS = 72
# Widths of a figure on a page and on a telephone, inches.
WIDE = 8.4
NARROW = 4.6
# Height of title and subtitle together, inches.
TITLE_HEIGHT = 0.75
# Sizes of the letters, points.
TITLE_SIZE = 13.5
SUBTITLE_SIZE = 10


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn at more than one width.

    Attributes:
        name: Name of the figure's file, without the ending.
        title: Result that the figure shows, in a sentence.
        subtitle: Explanation that the figure needs, one line.
        height: Height without the title, inches.
        fill: Function that draws into an empty figure, see `is_narrow`.
        narrow_height: Height on a narrow screen, inches; None: the same.
    """

    name: str
    title: str
    subtitle: str
    height: float
    fill: Callable[[Figure], None]
    narrow_height: float | None = None


def is_narrow(figure: Figure) -> bool:
    """Return whether a figure is drawn for a narrow screen."""
    return figure.get_figwidth() < (NARROW + WIDE) / 2


def render_with_title(drawing: Drawing) -> str:
    """Return the SVG of a drawing that stands by itself."""
    return render(drawing, WIDE, drawing.height, TITLE_HEIGHT)


def render_wide(drawing: Drawing) -> str:
    """Return the SVG of a drawing whose title is written elsewhere."""
    return render(drawing, WIDE, drawing.height)


def render_narrow(drawing: Drawing) -> str:
    """Return the SVG of a drawing for a narrow screen, without its title."""
    return render(drawing, NARROW, drawing.narrow_height or drawing.height)


def render(
    drawing: Drawing, width: float, height: float, title_height: float = 0
) -> str:
    """Return a drawing as SVG.

    Args:
        drawing: Drawing to render.
        width: Width of the figure, inches.
        height: Height of the figure without the title, inches.
        title_height: Height of the title, inches; 0 leaves it out.
    """
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = draw(drawing, width, height, title_height)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def draw(
    drawing: Drawing, width: float, height: float, title_height: float = 0
) -> Figure:
    """Return a drawing as a figure; the arguments are those of `render`."""
    total = height + title_height
    below_title = (0.01, 0.01, 0.98, 0.98 - title_height / total)
    layout = ConstrainedLayoutEngine(rect=below_title, hspace=0.06, wspace=0.06)
    figure = Figure(figsize=(width, total), layout=layout)
    FigureCanvasSVG(figure)
    if title_height:
        write_titles(figure, drawing, title_height / total)
    drawing.fill(figure)
    return figure


def write_titles(figure: Figure, drawing: Drawing, fraction: float) -> None:
    """Write title and subtitle into the uppermost `fraction` of a figure."""
    most = 0.96 * figure.get_figwidth() * POINTS
    for text, size, weight, color, down in (
        (drawing.title, TITLE_SIZE, "bold", INK, 0.2),
        (drawing.subtitle, SUBTITLE_SIZE, "normal", SOFT, 0.62),
    ):
        fitting = size * min(1, most / text_width(text, size, weight))
        figure.text(
            0.02,
            1 - down * fraction,
            text,
            size=fitting,
            weight=weight,
            color=color,
            va="top",
        )


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return how wide a line of text is drawn, in points."""
    font = FontProperties(family=FAMILY, weight=weight)
    return max(1.0, TextPath((0, 0), text, size=size, prop=font).get_extents().width)


def size_in_points(axes: Axes) -> tuple[float, float]:
    """Return width and height in points that labels leave to axes."""
    figure = figure_of(axes)
    figure.draw_without_rendering()
    extent = axes.get_window_extent()
    return extent.width * POINTS / figure.dpi, extent.height * POINTS / figure.dpi


def label_ends(axes: Axes, x: float, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write labels (y, text, colour) right of the axes, apart from each other.

    They stay between the lower and the upper end of the axes if there is space for all.
    """
    low, high = axes.get_ylim()
    line = 1.25 * matplotlib.rcParams["font.size"] * (high - low)
    line /= size_in_points(axes)[1]
    ordered = sorted(labels)
    heights = [line * (text.count("\n") + 1) for _, text, _ in ordered]
    middles = keep_apart([y for y, *_ in ordered], heights, low, high)
    for (_, text, color), at in zip(ordered, middles, strict=True):
        axes.annotate(
            text,
            (x, at),
            xytext=(8, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def keep_apart(
    middles: Sequence[float], heights: Sequence[float], low: float, high: float
) -> list[float]:
    """Return the middles of labels, moved just so far that none overlap.

    Args:
        middles: Middles where the labels should be, ascending.
        heights: Heights of the labels.
        low: Lower limit for all labels.
        high: Upper limit for all labels, if it leaves enough space for them.
    """
    tops: list[float] = []
    floor = low
    for middle, height in zip(middles, heights, strict=True):
        floor = max(middle - height / 2, floor) + height
        tops.append(floor)
    ceiling = max(high, low + sum(heights))
    for index in reversed(range(len(tops))):
        tops[index] = min(tops[index], ceiling)
        ceiling = tops[index] - heights[index]
    return [top - height / 2 for top, height in zip(tops, heights, strict=True)]


def figure_of(axes: Axes) -> Figure:
    """Return the whole figure that axes are in."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes are made by a figure"
    return figure


def few_ticks(figure: Figure, is_integer: bool = False) -> MaxNLocator:
    """Return a locator of so few ticks that their labels do not touch each other."""
    return MaxNLocator(
        nbins=4 if is_narrow(figure) else 6,
        steps=[1, 2, 2.5, 5, 10],
        integer=is_integer,
    )


def short(value: float, position: float = 0) -> str:
    """Return a tick's label with the whole value, without a factor for the axis."""
    if 1e6 <= abs(value) < 1e12:
        return minus(f"{value / 1e6:,.6g} M")
    return minus(f"{value:,.6g}")


def minus(text: str) -> str:
    """Return `text` with the typographic minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")
