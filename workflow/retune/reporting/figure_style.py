"""One look for every figure, and SVG that is the same bytes for the same run."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from retune.publishing import write_text

# Blue, vermilion and green of Okabe and Ito's colours, which colour-blind readers
# tell apart. A colour means the same in every figure.
TUNED = "#0072B2"
VALIDATION = "#D55E00"
KEPT = "#009E73"
BASE = "#7B8794"
INK = "#1F2933"
SOFT = "#616E7C"
GRID = "#E4E7EB"

STYLE = {
    "svg.hashsalt": "retune",
    "font.family": "DejaVu Sans",
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
WIDTH = 8.4  # inches
TITLE_INCHES = 0.75


@contextmanager
def figure(path: Path, title: str, subtitle: str, height: float) -> Iterator[Figure]:
    """Yield a figure with its result as title, and write it as SVG.

    Args:
        path: The file.
        title: What the figure shows, in a sentence.
        subtitle: What it takes to read that.
        height: Inches, the title's included.
    """
    with matplotlib.rc_context(STYLE):
        drawing = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(drawing)
        room = TITLE_INCHES / height
        drawing.get_layout_engine().set(
            rect=(0.01, 0.01, 0.98, 0.98 - room), hspace=0.06, wspace=0.06
        )
        drawing.text(
            0.02, 1 - 0.2 * room, title, size=13.5, weight="bold", va="top", ha="left"
        )
        drawing.text(
            0.02, 1 - 0.62 * room, subtitle, size=10, color=SOFT, va="top", ha="left"
        )
        yield drawing
        text = io.StringIO()
        drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        write_text(path, text.getvalue())


def label_ends(axes: Axes, x: float, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write labels (y, text, colour) right of the axes, apart from each other."""
    low, high = axes.get_ylim()
    gap = 0.07 * (high - low)
    placed: list[float] = []
    for y, text, color in sorted(labels):
        at = max(y, placed[-1] + gap) if placed else y
        placed.append(at)
        axes.annotate(
            text,
            (x, at),
            xytext=(8, 0),
            textcoords="offset points",
            color=color,
            va="center",
            annotation_clip=False,
        )


def minus(text: str) -> str:
    """Return `text` with the typographic minus sign."""
    return text.replace("-", "\N{MINUS SIGN}")
