"""What a result came from, as rows of plain text."""

from collections.abc import Sequence
from typing import Any

from retune.quantities import counted
from retune.reporting.evaluation_rows import Row
from retune.reporting.fact_rows import title_of_base
from retune.reporting.public_paths import public_name
from retune.reporting.run_results import RunResults
from retune.training.provenance import Provenance

# More of the user's files than this fill a page; the manifest lists all.
MOST_FILES = 20


def provenance_rows(run: RunResults, provenance: Provenance) -> list[Row]:
    """Return name and value of all that the result came from."""
    revisions = {"dataset": run.settings.dataset, "model": run.settings.model}
    return [
        ("commit of the workflow", provenance.workflow),
        ("commit of params.yaml", provenance.params),
        *(
            (f"revision of the {name}", f"{settings.name} at {settings.revision}")
            for name, settings in revisions.items()
            if settings.revision
        ),
        *dataset_rows(run),
        *model_rows(run),
        *(
            (f"sha256 of {folder}/manifest.json", digest)
            for folder, digest in run.manifest_sha256.items()
        ),
    ]


def dataset_rows(run: RunResults) -> list[Row]:
    """Return the user's own data by name, with its checksums."""
    if run.settings.dataset.source != "local":
        return []
    return [
        row
        for split, files in run.raw["sources"].items()
        for row in file_rows(files, f" ({split})", "data/raw/manifest.json")
    ]


def model_rows(run: RunResults) -> list[Row]:
    """Return the files of the user's own model by name, with their checksums."""
    if run.settings.model.source != "local":
        return []
    where = f" ({title_of_base(run.settings.model)})"
    return file_rows(run.base["sources"], where, "models/base/manifest.json")


def file_rows(files: Sequence[dict[str, Any]], where: str, manifest: str) -> list[Row]:
    """Return name and checksum of the first files, and where the others are listed."""
    rows = [
        (f"sha256 of {public_name(file['path'])}{where}", file["sha256"])
        for file in files[:MOST_FILES]
    ]
    if more := len(files) - len(rows):
        rows.append((f"{counted(more, 'more file')}{where}", f"see {manifest}"))
    return rows


def machine_rows(provenance: Provenance) -> list[Row]:
    """Return name and value of the machine that trained, and of its packages."""
    return [*provenance.machine.items(), *provenance.packages.items()]
