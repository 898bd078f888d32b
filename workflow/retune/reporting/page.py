"""The page of a run, report.html: one file that loads nothing and runs nothing."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retune.quantities import counted, duration, parameters
from retune.reporting.answer import find_answer
from retune.reporting.escaping import visible
from retune.reporting.fact_rows import (
    plan_text,
    protocol_text,
    settings_text,
    title_of,
    title_of_base,
    title_of_dataset,
)
from retune.reporting.figure_style import Drawing, minus, render_narrow, render_wide
from retune.reporting.run_results import RunResults
from retune.reporting.tables import tables_of
from retune.training.provenance import Provenance

TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    run: RunResults, provenance: Provenance, figures: Mapping[str, Drawing]
) -> str:
    """Return the page's HTML; texts of data and models are shown as they are."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["minus"] = minus
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        style=style,
        style_sha256=sha256_of_style(style),
        title=title_of(run),
        what=what_was_done(run),
        is_builtin_model=run.settings.model.source == "builtin",
        answer=find_answer(run.evaluation["test"]),
        tables=tables_of(run, provenance),
        figures={name: Images.of(drawing) for name, drawing in figures.items()},
        protocol=protocol_text(run),
        plan=plan_text(run),
        samples=run.samples["samples"],
        settings=settings_text(run.settings),
    )


@dataclass(frozen=True)
class Images:
    """A figure as the page embeds it: images, whose ids and styles stay their own."""

    title: str
    subtitle: str
    wide: str
    narrow: str

    @classmethod
    def of(cls, drawing: Drawing) -> "Images":
        """Draw a figure for wide and for narrow screens."""
        return cls(
            drawing.title,
            drawing.subtitle,
            data_address(render_wide(drawing)),
            data_address(render_narrow(drawing)),
        )


def data_address(svg: str) -> str:
    """Return an address that holds a whole SVG file."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def sha256_of_style(style: str) -> str:
    """Return the hash by which the page's policy knows its only style sheet."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def visible_text(value: Any) -> Any:
    """Return what the template shows of a value: of text, what nobody could see, too.

    HTML is of a class of its own, derived from that of text.
    """
    return visible(value) if type(value) is str else value


def what_was_done(run: RunResults) -> str:
    """Return what was trained on what, in a sentence."""
    base, dataset = title_of_base(run.settings.model), run.settings.dataset
    if run.settings.model.source == "builtin":
        base = base[0].upper() + base[1:]
    data, measured = run.data["documents"], run.finetune
    return (
        f"{base} ({parameters(run.plan['num_parameters'])})"
        f" was trained on {counted(data['train'], 'document')} of"
        f" {title_of_dataset(dataset)}: {counted(measured['steps'], 'step')} of"
        f" {run.plan['tokens_per_step']:,} tokens in {duration(measured['seconds'])}."
    )
