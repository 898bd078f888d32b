"""The step `report`: figures and tables for people, and the model with its card."""

from pathlib import Path

from retune.publishing import published_folder, write_manifest, write_text
from retune.reporting.figures import draw_figures
from retune.reporting.model_card import write_card
from retune.reporting.run_results import RunResults, read_results
from retune.reporting.tables import write_tables
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
    report: Path,
) -> str:
    """Publish the tuned model with its card, and the report's figures and tables.

    Args:
        settings: All sections, for the card; this step decides nothing by them.
        raw: Folder of the raw dataset, for its manifest.
        base: Folder of the base model, for its manifest.
        data_metrics: metrics/data.json.
        token_metrics: metrics/tokens.json.
        plan: plan/plan.json.
        history: What each step of the training measured, CSV.
        validation: The validation losses, CSV.
        finetune_metrics: metrics/finetune.json.
        consolidated: Folder of the tuned weights.
        baseline_metrics: metrics/baseline.json.
        baseline_documents: The base model's scores, parquet.
        tuned_documents: The tuned model's scores, parquet.
        evaluation: metrics/evaluation.json.
        samples: What both models write, JSON.
        provenance: Where the training ran, JSON.
        tuned: Folder to publish: the tuned model and its card.
        report: Folder to publish: figures and tables.
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
    # Nested, so that both are published or neither.
    with published_folder(tuned) as model, published_folder(report) as folder:
        fill_model(model, results, read_provenance(provenance), consolidated)
        figures = draw_figures(results, folder)
        tables = write_tables(results, folder)
    return f"{tuned} with its card; {report}: {figures} figures, {tables} tables"


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
