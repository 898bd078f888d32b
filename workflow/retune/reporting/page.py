"""The page of a run, report.html: one file that loads nothing and runs nothing."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from retune.artifacts.provenance import Provenance
from retune.artifacts.training_operations import TrainingOperations
from retune.planning.score import HEADER as SCORE_HEADER
from retune.quantities import counted, duration, parameters
from retune.reporting.answer import find_answer
from retune.reporting.escaping import visible
from retune.reporting.figure_style import Drawing, minus, render_narrow, render_wide
from retune.reporting.gpu_utilisation import model_flops_utilisation
from retune.reporting.operation_rows import HEADER as OPERATION_HEADER
from retune.reporting.operation_rows import operation_rows, profiled_steps
from retune.reporting.plan_rows import plan_rows, plan_text
from retune.reporting.protocol_text import protocol_text
from retune.reporting.public_settings import settings_text
from retune.reporting.row_html import row_html, row_title
from retune.reporting.run_results import ReportResults
from retune.reporting.tables import Table, card_tables, tables_of
from retune.reporting.template_files import TEMPLATES, load_template
from retune.reporting.titles import title_of, title_of_base, title_of_dataset

PLAN_HEADER = ("setting", "value", "why")


def render_page(
    run: ReportResults,
    provenance: Provenance,
    profile: TrainingOperations,
    figures: Mapping[str, Drawing],
) -> str:
    """Return the page's HTML; texts of data and models are shown as they are."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    template = load_template(
        "page.html.j2", {"minus": minus}, is_html=True, finalize=visible_text
    )
    return template.render(
        style=style,
        style_sha256=sha256_of_style(style),
        title=title_of(run),
        what=what_was_done(run),
        is_builtin_model=run.settings.model.source == "builtin",
        terms=run.terms,
        answer=find_answer(run.evaluation.test, run.terms),
        tables={
            **tables_of(run, provenance, model_flops_utilisation(run)),
            **card_tables(run),
            "operations": Table(
                "What took longest", operation_rows(profile), OPERATION_HEADER, True
            ),
            "plan": Table("The plan", plan_rows(run), PLAN_HEADER),
            "score": Table("Predicted and measured", run.score.rows, SCORE_HEADER),
        },
        figures={name: Images.of(drawing) for name, drawing in figures.items()},
        profiled=profiled_steps(profile),
        protocol=protocol_text(run),
        plan=plan_text(run),
        shown_rows=shown_rows(run),
        samples=run.samples.samples,
        settings=settings_text(run.settings),
    )


@dataclass(frozen=True)
class Images:
    """A figure as the page embeds it, as images, which share no ids and styles.

    Attributes:
        title: Result that the figure shows, in a sentence.
        subtitle: Explanation that the figure needs, one line.
        wide: Address that holds the SVG for wide screens.
        narrow: Address that holds the SVG for narrow screens.
    """

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


def shown_rows(run: ReportResults) -> list[tuple[str, str]]:
    """Return title and HTML of each row that is shown as the model sees it."""
    rows = run.tokens.splits["train"].sequences
    return [(row_title(row, rows), row_html(row)) for row in run.card.rows]


def data_address(svg: str) -> str:
    """Return an address that holds a whole SVG file."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def sha256_of_style(style: str) -> str:
    """Return the hash by which the page's policy knows its only style sheet."""
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def visible_text(value: object) -> object:
    """Return what the template shows: of text, with invisible characters escaped.

    HTML is not plain text: its class is derived from `str`.
    """
    return visible(value) if type(value) is str else value


def what_was_done(run: ReportResults) -> str:
    """Return what was trained on what, in a sentence."""
    base, dataset = title_of_base(run.settings.model), run.settings.dataset
    if run.settings.model.source == "builtin":
        base = base[0].upper() + base[1:]
    documents, measured = run.data.documents["train"], run.finetune
    return (
        f"{base} ({parameters(run.plan.num_parameters)})"
        f" was trained on {counted(documents, run.terms.document)} of"
        f" {title_of_dataset(dataset)}: {counted(measured.steps, 'step')} of"
        f" {run.plan.tokens_per_step:,} tokens in {duration(measured.seconds)}."
    )
