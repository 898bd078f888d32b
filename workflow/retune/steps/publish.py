"""The step `publish`: the tuned model with its card, as other tools read it."""

from pathlib import Path

from retune.artifacts.provenance import Provenance
from retune.artifacts.publishing import published_folder, write_manifest, write_text
from retune.artifacts.verifying import check_list, check_same, read_list, read_verified
from retune.checkpoints.checkpoint_files import link_folder
from retune.reporting.model_card import write_card
from retune.reporting.run_results import read_results
from retune.settings import RunSettings

# The file that Snakemake leaves in a folder it made; its time is the folder's. If a
# hard link shared it, a new time of models/tuned would be one of models/consolidated.
SNAKEMAKE_TIMESTAMP = ".snakemake_timestamp"


def run(
    settings: RunSettings,
    consolidated: Path,
    raw: Path,
    base: Path,
    data_metrics: Path,
    token_metrics: Path,
    plan: Path,
    history: Path,
    validation: Path,
    finetune_metrics: Path,
    evaluation: Path,
    samples: Path,
    provenance: Path,
    tuned: Path,
) -> str:
    """Publish the consolidated model with its card.

    The weights are hard links where the file system has them.

    Args:
        settings: All sections but `report`, which the card shows.
        consolidated: Folder of the tuned weights that consolidate made
            (models/consolidated).
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
        evaluation: JSON file that evaluate wrote (metrics/evaluation.json).
        samples: What both models write, JSON file of sample
            (results/sample/samples.json).
        provenance: Where the training ran, JSON file of finetune
            (results/finetune/provenance.json).
        tuned: Folder to publish: the tuned model and its card (models/tuned).

    Returns:
        The folder, for people.

    Raises:
        RetuneError: If it would be another model than `consolidate` wrote.
    """
    results = read_results(
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
    read_verified(finetune_metrics, "finetune", provenance)
    card = write_card(results, Provenance.read(provenance))
    written = check_list(consolidated, "consolidate")
    with published_folder(tuned) as folder:
        link_folder(consolidated, folder)
        (folder / SNAKEMAKE_TIMESTAMP).unlink(missing_ok=True)
        write_text(folder / "README.md", card)
        write_manifest(folder, source="publish")
        check_same(written, read_list(folder, "publish"), "consolidate")
    return f"{tuned} with its card"
