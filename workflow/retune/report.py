"""The step `report`: one page for people, and the model with its card."""

from pathlib import Path

from retune.publishing import published_folder, write_manifest, write_text
from retune.reporting.figure_style import render_with_title
from retune.reporting.figures import plan_figures
from retune.reporting.model_card import write_card
from retune.reporting.page import render_page
from retune.reporting.run_results import RunResults, read_results
from retune.settings import Params
from retune.training.checkpoint_files import link_folder
from retune.training.provenance import Provenance, read_provenance
from retune.verifying import check_list, check_same, read_list, read_verified

# Snakemake's mark in a folder it made. Shared by a hard link, a new date on
# models/tuned would make models/consolidated look new as well.
MARK = ".snakemake_timestamp"


def run(
    settings: Params,
    raw: Path,
    base: Path,
    data_metrics: Path,
    token_metrics: Path,
    plan: Path,
    history: Path,
    validation: Path,
    finetune_metrics: Path,
    consolidated: Path,
    baseline_metrics: Path,
    baseline_documents: Path,
    tuned_documents: Path,
    evaluation: Path,
    samples: Path,
    provenance: Path,
    tuned: Path,
    figures: Path,
    page: Path,
) -> str:
    """Publish the tuned model with its card, the figures, and the page with all of it.

    Args:
        settings: All sections, for the card; this step decides nothing by them.
        raw: Folder of the dataset that download made, for its manifest (data/raw).
        base: Folder of the base model that fetch made, for its manifest (models/base).
        data_metrics: JSON file that prepare wrote (metrics/data.json).
        token_metrics: JSON file that tokenize wrote (metrics/tokens.json).
        plan: JSON file that configure wrote (plan/plan.json).
        history: CSV file that finetune wrote: what each step measured
            (results/finetune/history.csv).
        validation: CSV file that finetune wrote: the validation losses
            (results/finetune/validation.csv).
        finetune_metrics: JSON file that finetune wrote (metrics/finetune.json).
        consolidated: Folder of the tuned weights that consolidate made
            (models/consolidated).
        baseline_metrics: JSON file that baseline wrote (metrics/baseline.json).
        baseline_documents: The base model's scores, which baseline wrote
            (results/baseline/documents.parquet).
        tuned_documents: The tuned model's scores, which evaluate wrote
            (results/evaluate/documents.parquet).
        evaluation: JSON file that evaluate wrote (metrics/evaluation.json).
        samples: What both models write, JSON file of evaluate
            (results/evaluate/samples.json).
        provenance: Where the training ran, JSON file of finetune
            (results/finetune/provenance.json).
        tuned: Folder to publish: the tuned model and its card (models/tuned).
        figures: Folder to publish: each figure as SVG (report).
        page: HTML file to write, which needs no other: the answer, all figures
            and tables (report.html).
    """
    results = read_results(
        settings,
        raw,
        base,
        data_metrics,
        token_metrics,
        plan,
        history,
        validation,
        finetune_metrics,
        baseline_metrics,
        baseline_documents,
        tuned_documents,
        evaluation,
        samples,
    )
    read_verified(finetune_metrics, "finetune", provenance)
    origin = read_provenance(provenance)
    drawings = plan_figures(results)
    text = render_page(results, origin, drawings)
    # Nested, so that both are published or neither.
    with published_folder(tuned) as model, published_folder(figures) as folder:
        fill_model(model, results, origin, consolidated)
        for name, drawing in drawings.items():
            write_text(folder / f"{name}.svg", render_with_title(drawing))
    write_text(page, text)
    return f"{tuned} with its card; {page}: {len(text.encode()) / 1e6:.1f} MB"


def fill_model(
    folder: Path, results: RunResults, provenance: Provenance, consolidated: Path
) -> None:
    """Fill a folder with the consolidated model and its card.

    Raises:
        RetuneError: If it would be another one than `consolidate` wrote.
    """
    written = check_list(consolidated, "consolidate")
    link_folder(consolidated, folder)
    (folder / MARK).unlink(missing_ok=True)
    write_text(folder / "README.md", write_card(results, provenance))
    write_manifest(folder, source="report")
    check_same(written, read_list(folder, "report"), "consolidate")
