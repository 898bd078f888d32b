"""The figure of the data: what became of the raw documents."""

from matplotlib.figure import Figure

from retune.quantities import counted, percent
from retune.reporting.bars import Bar, draw_bars
from retune.reporting.figure_style import BASE, KEPT, VALIDATION, Drawing, minus
from retune.reporting.run_results import RunResults

UNKNOWN = "not looked for"


def data_figure(run: RunResults) -> Drawing:
    """Return the figure of what became of the raw documents."""
    total, kept = run.raw_documents, sum(run.data["documents"].values())
    share = "All" if kept == total else f"{kept:,} of"

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        draw_bars(axes, bars_of(run), total)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("documents")

    return Drawing(
        "data",
        f"{share} {counted(total, 'document')} {'was' if total == 1 else 'were'} kept",
        "Grey: brought here. Orange: removed. Green: kept.",
        height=3.6,
        fill=fill,
    )


def bars_of(run: RunResults) -> list[Bar]:
    """Return the documents in the order of the steps: each bar ends where it got."""
    data, tokens = run.data, run.tokens["splits"]
    total = end = run.raw_documents
    removed = {
        "rejected": data["rejected"]["count"],
        "duplicates": data["duplicates_removed"],
        "overlap": sum(data["overlap"]["removed"].values()),
    }
    bars = [Bar("raw", 0, total, BASE, (counted(total, "document"), f"{total:,}"))]
    for name, count in removed.items():
        end -= count
        lost = minus(f"-{count:,}")
        nothing = "none" if name != "overlap" or data["overlap"]["words"] else UNKNOWN
        labels = (f"{lost} ({percent(count / total)})", lost) if count else (nothing,)
        bars.append(Bar(name, end, count, VALIDATION, labels))
    start = 0
    for split, count in data["documents"].items():
        documents = counted(count, "document")
        with_tokens = f"{documents}, {counted(tokens[split]['tokens'], 'token')}"
        labels = (with_tokens, documents, f"{count:,}")
        bars.append(Bar(split, start, count, KEPT, labels))
        start += count
    return bars
