"""The figure of the data: what became of the raw documents."""

from matplotlib.figure import Figure

from retune.quantities import counted, percent
from retune.reporting.bars import Bar, draw_bars
from retune.reporting.figure_style import (
    BASE,
    KEPT,
    VALIDATION,
    Drawing,
    few_ticks,
    minus,
)
from retune.reporting.run_results import RunResults

UNKNOWN = "not looked for"


def data_figure(run: RunResults) -> Drawing:
    """Return the figure of what became of the raw documents."""
    total, kept = run.data.raw_documents, run.data.kept_documents
    how_many = "All" if kept == total else f"{kept:,} of"
    terms = run.terms
    documents = counted(total, terms.document)

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_bars(axes, bars_of(run), total)
        axes.xaxis.set_major_locator(few_ticks(figure, is_integer=True))
        axes.set_xlabel(terms.documents)

    return Drawing(
        "data",
        f"{how_many} {documents} {'was' if total == 1 else 'were'} kept",
        "Grey: brought here. Orange: removed. Green: kept.",
        height=3.6,
        fill=fill,
    )


def bars_of(run: RunResults) -> list[Bar]:
    """Return a bar for the raw documents, each reason for removal, and each split.

    What was removed lies at the end of what was still there; the splits lie beside each
    other.
    """
    data, tokens, document = run.data, run.tokens.splits, run.terms.document
    total = end = data.raw_documents
    removed = {
        "rejected": data.rejected.count,
        "duplicates": data.duplicates_removed + data.near_duplicates_removed,
        "overlap": data.overlapping_documents,
    }
    bars = [Bar("raw", 0, total, BASE, (counted(total, document), f"{total:,}"))]
    for name, count in removed.items():
        end -= count
        lost = minus(f"-{count:,}")
        nothing = "none" if name != "overlap" or data.overlap.words else UNKNOWN
        with_percent = f"{lost} ({percent(count / total)})"
        labels = (with_percent, lost) if count else (nothing,)
        bars.append(Bar(name, end, count, VALIDATION, labels))
    start = 0
    for split, count in data.documents.items():
        documents = counted(count, document)
        with_tokens = f"{documents}, {counted(tokens[split].tokens, 'token')}"
        shorter = (with_tokens, documents, f"{count:,}")
        bars.append(Bar(split, start, count, KEPT, shorter))
        start += count
    return bars
