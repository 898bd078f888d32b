"""The figure of the lengths: how many tokens the sequences of train have."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from retune.artifacts.tokens_card import TokensCard
from retune.quantities import counted, percent
from retune.reporting.figure_style import (
    BASE,
    INK,
    KEPT,
    SOFT,
    VALIDATION,
    Drawing,
    few_ticks,
    figure_of,
    is_narrow,
    short,
)
from retune.reporting.run_results import ReportResults
from retune.settings import HELD_OUT

# Most labels of the lengths on wide and on narrow screens.
MOST_LABELS, MOST_NARROW_LABELS = 9, 5


def lengths_figure(run: ReportResults) -> Drawing:
    """Return the figure of the lengths of the sequences, in tokens."""
    card, longer = run.card, num_longer(run)
    held_out = [
        card.lengths[split].counts for split in HELD_OUT if split in card.lengths
    ]

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_shares(axes, card, held_out, longer > 0)
        axes.set_xlabel("tokens")
        axes.set_ylabel("% of the sequences")

    grey = " Grey line: validation and test." if held_out else ""
    orange = " Orange: longer than a block." if longer else ""
    return Drawing(
        "lengths",
        lengths_title(run),
        f"Green: train.{orange}{grey} Lengths double every two bars.",
        height=3.4,
        fill=fill,
    )


def lengths_title(run: ReportResults) -> str:
    """Return the median length, and how many sequences are longer than a block."""
    lengths, length = run.card.lengths["train"], run.card.sequence_length
    numbers = run.tokens.splits["train"]
    is_whole = numbers.sequences == numbers.documents
    things = run.terms.documents if is_whole else "sequences"
    most = counted(round(lengths.median), "token")
    title = f"Half of the training {things} have at most {most}"
    if run.tokens.packing == "wrap":
        return title
    if not (longer := num_longer(run)):
        return f"{title}, and all fit into a block of {length:,}"
    share = percent(longer / sum(lengths.counts))
    return f"{title}; {longer:,} ({share}) exceed a block of {length:,}"


def num_longer(run: ReportResults) -> int:
    """Return how many training sequences are longer than a block.

    For packing `wrap`, which cuts sequences anywhere, it is none.
    """
    if run.tokens.packing == "wrap":
        return 0
    counts = zip(run.card.bins, run.card.lengths["train"].counts, strict=True)
    return sum(count for end, count in counts if end > run.card.sequence_length)


def draw_shares(
    axes: Axes,
    card: TokensCard,
    held_out: Sequence[tuple[int, ...]],
    has_longer: bool,
) -> None:
    """Draw which part of train, and of the held-out splits, is how long.

    Args:
        axes: Empty axes.
        card: Bins and lengths.
        held_out: Counts of each held-out split that has sequences.
        has_longer: Whether what is longer than a block is drawn in another colour.
    """
    ends = np.log2(card.bins)
    # Small lengths have fewer bins, since a length is a whole number.
    starts = np.append(ends[0] - 0.5, ends[:-1])
    bins = np.array(card.bins)
    is_longer = has_longer & (bins > card.sequence_length)
    color = np.where(is_longer, VALIDATION, KEPT)
    widths = ends - starts
    shares = in_percent(np.array(card.lengths["train"].counts))
    axes.bar(starts + widths / 2, shares, 0.94 * widths, color=color)
    if held_out:
        edges = np.append(starts[0], ends)
        axes.stairs(
            in_percent(np.sum(held_out, axis=0)), edges, color=BASE, linewidth=1.8
        )
    mark_block(axes, card)
    label_lengths(axes, card)
    axes.yaxis.set_major_locator(few_ticks(figure_of(axes)))
    axes.yaxis.set_major_formatter(short)
    axes.grid(axis="x", visible=False)


def in_percent(counts: np.ndarray) -> np.ndarray:
    """Return each count in percent of all, float64 [bins]."""
    return 100 * counts / counts.sum()


def mark_block(axes: Axes, card: TokensCard) -> None:
    """Draw a line at the length of a block, with its name above the axes."""
    place = float(np.log2(card.sequence_length))
    axes.axvline(place, color=INK, linewidth=1.2, linestyle="--")
    low, high = axes.get_xlim()
    is_left = place < (low + high) / 2
    axes.annotate(
        f"block of {counted(card.sequence_length, 'token')}",
        (place, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 4),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="bottom",
        color=SOFT,
        size=10,
    )


def label_lengths(axes: Axes, card: TokensCard) -> None:
    """Label lengths each of which is a power of two times the next."""
    low, high = axes.get_xlim()
    block = float(np.log2(card.sequence_length))
    most = MOST_NARROW_LABELS if is_narrow(figure_of(axes)) else MOST_LABELS
    step = int(np.ceil((high - low) / most)) or 1
    first = block - step * np.floor((block - max(low, 0)) / step)
    places = np.arange(first, high, step)
    axes.xaxis.set_major_locator(FixedLocator(places.tolist()))
    axes.xaxis.set_major_formatter(lambda place, _: short(round(2**place)))
