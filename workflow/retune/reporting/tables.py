"""The report's tables: small HTML pages that need nothing from elsewhere."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from retune.publishing import write_text
from retune.reporting.escaping import to_html
from retune.reporting.evaluation_rows import HEADER, Row, evaluation_rows, floor_rows
from retune.reporting.fact_rows import (
    origin_rows,
    plan_rows,
    plan_text,
    protocol_text,
    removal_rows,
    split_rows,
    training_rows,
)
from retune.reporting.run_results import RunResults

# The policy lets nothing be loaded and nothing run, whatever a text may hold.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ margin: 1.5rem 2rem; max-width: 64rem; color: #1f2933; background: #fff;
 font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }}
h1 {{ font-size: 1.25rem; margin: 0 0 .75rem }}
h2 {{ font-size: 1rem; margin: 1.75rem 0 .5rem }}
p {{ margin: .5rem 0; max-width: 48rem }}
table {{ border-collapse: collapse; margin: .5rem 0 }}
th, td {{ padding: .35rem 1.25rem .35rem 0; text-align: left; vertical-align: top;
 border-bottom: 1px solid #e4e7eb }}
th {{ font-weight: 600; color: #52606d; border-bottom-color: #9aa5b1 }}
td:first-child {{ white-space: nowrap }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums;
 white-space: nowrap }}
table.samples {{ table-layout: fixed; width: 100% }}
table.samples th:first-child {{ width: 18% }}
pre {{ margin: 0; max-height: 9rem; overflow: auto; white-space: pre-wrap;
 overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def write_tables(run: RunResults, folder: Path) -> int:
    """Write every table into a folder; return how many."""
    pages = {
        "evaluation": evaluation_page,
        "plan": plan_page,
        "data": data_page,
        "samples": samples_page,
    }
    for name, page in pages.items():
        write_text(folder / f"{name}.html", page(run))
    return len(pages)


def evaluation_page(run: RunResults) -> str:
    """Return base against tuned on both held-out splits."""
    parts = []
    for split in ("test", "validation"):
        rows = evaluation_rows(run.evaluation[split])
        parts += [heading(split.capitalize()), table(HEADER, rows, numbers=range(1, 5))]
    floors = table(
        ("floor on test", "bits per byte"), floor_rows(run.evaluation), numbers=[1]
    )
    parts += [heading("To beat"), floors]
    parts += [heading("How this was measured"), paragraph(protocol_text(run))]
    return render("Base against tuned", *parts)


def plan_page(run: RunResults) -> str:
    """Return what `configure` decided and why, and what the training was."""
    return render(
        "The plan and the training",
        paragraph(plan_text(run)),
        table(("setting", "value", "why"), plan_rows(run)),
        heading("What was run"),
        table((), training_rows(run)),
    )


def data_page(run: RunResults) -> str:
    """Return where the data came from, what was removed and the splits."""
    header = ("split", "documents", "groups", "words", "bytes", "tokens")
    return render(
        "The data",
        table((), origin_rows(run)),
        heading("What was removed"),
        table((), removal_rows(run)),
        heading("What is left"),
        table(header, split_rows(run), numbers=range(1, 6)),
    )


def samples_page(run: RunResults) -> str:
    """Return each prompt with both models' texts side by side."""
    kinds = {"The likeliest words": "", "Drawn at random": "_sampled"}
    parts = []
    for title, suffix in kinds.items():
        cells = (
            [
                preformatted(sample[key])
                for key in ("prompt", f"base{suffix}", f"tuned{suffix}")
            ]
            for sample in run.samples["samples"]
        )
        parts += [
            heading(title),
            '<table class="samples">',
            row_of("th", ["prompt", "base", "tuned"]),
            *(row_of("td", row) for row in cells),
            "</table>",
        ]
    return render("What the models write", *parts)


def render(title: str, *parts: str) -> str:
    """Return a whole page."""
    return PAGE.format(title=to_html(title), body="\n".join(parts))


def heading(text: str) -> str:
    """Return a heading of second order."""
    return f"<h2>{to_html(text)}</h2>"


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{to_html(text)}</p>"


def preformatted(text: str) -> str:
    """Return a text with its own line breaks, which are also shown as ↵."""
    marked = to_html(text).replace("\n", "↵\n")
    return f"<pre>\n{marked}</pre>"


def table(
    header: Sequence[str], rows: Iterable[Row], numbers: Iterable[int] = ()
) -> str:
    """Return a table of plain text; the columns `numbers` are set to the right."""
    right = set(numbers)
    lines = [row_of("th", map(to_html, header), right)] if header else []
    lines += [row_of("td", map(to_html, row), right) for row in rows]
    return "\n".join(["<table>", *lines, "</table>"])


def row_of(tag: str, cells: Iterable[str], right: Iterable[int] = ()) -> str:
    """Return a table's row of cells that are HTML already."""
    numbers = set(right)
    return (
        "<tr>"
        + "".join(
            f'<{tag} class="number">{cell}</{tag}>'
            if column in numbers
            else f"<{tag}>{cell}</{tag}>"
            for column, cell in enumerate(cells)
        )
        + "</tr>"
    )
