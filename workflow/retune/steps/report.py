"""The step `report`: the answer on one page, and its figures."""

from pathlib import Path

from retune.artifacts.provenance import Provenance
from retune.artifacts.publishing import published_folder, write_text
from retune.artifacts.training_operations import TrainingOperations
from retune.artifacts.verifying import read_verified
from retune.reporting.figure_style import render_with_title
from retune.reporting.figures import drawings_of
from retune.reporting.page import render_page
from retune.reporting.run_results import read_report_results, read_results
from retune.settings import Params


def run(
    settings: Params,
    raw: Path,
    tokens: Path,
    base: Path,
    data_metrics: Path,
    token_metrics: Path,
    plan: Path,
    reasons: Path,
    history: Path,
    validation: Path,
    finetune_metrics: Path,
    baseline_metrics: Path,
    baseline_documents: Path,
    tuned_documents: Path,
    evaluation: Path,
    samples: Path,
    provenance: Path,
    operations: Path,
    figures: Path,
    page: Path,
) -> str:
    """Write the figures, and the page with all of it.

    Args:
        settings: All sections, which the page shows.
        raw: Folder of the dataset that download made, for its manifest (data/raw).
        tokens: Folder of tokens that tokenize made, for its card (data/tokens).
        base: Folder of the base model that fetch made, for its manifest (models/base).
        data_metrics: JSON file that prepare wrote (metrics/data.json).
        token_metrics: JSON file that tokenize wrote (metrics/tokens.json).
        plan: JSON file that configure wrote (plan/plan.json).
        reasons: Why the plan is so, JSON file of configure (plan/reasons.json).
        history: CSV file that finetune wrote: what each step measured
            (results/finetune/history.csv).
        validation: CSV file that finetune wrote: the validation losses
            (results/finetune/validation.csv).
        finetune_metrics: JSON file that finetune wrote (metrics/finetune.json).
        baseline_metrics: JSON file that baseline wrote (metrics/baseline.json).
        baseline_documents: The base model's scores, which baseline wrote
            (results/baseline/documents.parquet).
        tuned_documents: The tuned model's scores, which evaluate wrote
            (results/evaluate/documents.parquet).
        evaluation: JSON file that evaluate wrote (metrics/evaluation.json).
        samples: What both models write, JSON file of sample
            (results/sample/samples.json).
        provenance: Where the training ran, JSON file of finetune
            (results/finetune/provenance.json).
        operations: What a few steps' time went to, JSON file of finetune
            (results/finetune/operations.json).
        figures: Folder to publish: each figure as SVG (report).
        page: HTML file to write, which needs no other: the answer, all figures
            and tables (report.html).

    Returns:
        The page and its size, for people.
    """
    run_results = read_results(
        settings,
        raw=raw,
        base=base,
        data_metrics=data_metrics,
        token_metrics=token_metrics,
        plan=plan,
        history=history,
        validation=validation,
        finetune_metrics=finetune_metrics,
        evaluation=evaluation,
        samples=samples,
    )
    results = read_report_results(
        settings,
        run_results,
        tokens=tokens,
        reasons=reasons,
        baseline_metrics=baseline_metrics,
        baseline_documents=baseline_documents,
        tuned_documents=tuned_documents,
        evaluation=evaluation,
    )
    read_verified(finetune_metrics, "finetune", provenance, operations)
    origin = Provenance.read(provenance)
    profile = TrainingOperations.read(operations)
    drawings = drawings_of(results)
    text = render_page(results, origin, profile, drawings)
    with published_folder(figures) as folder:
        for name, drawing in drawings.items():
            write_text(folder / f"{name}.svg", render_with_title(drawing))
    write_text(page, text)
    return f"{page}: {len(text.encode()) / 1e6:.1f} MB"
