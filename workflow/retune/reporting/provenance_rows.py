"""What a result came from, as rows of plain text."""

from collections.abc import Sequence

from retune.artifacts.origins import FileEntry
from retune.artifacts.provenance import Provenance
from retune.quantities import counted
from retune.reporting.evaluation_rows import Row
from retune.reporting.public_settings import public_name
from retune.reporting.run_results import RunResults
from retune.reporting.source_rows import parts_of
from retune.reporting.titles import title_of_base

# More of the user's files than this fill a page; the manifest lists all.
MOST_FILES = 20


def provenance_rows(run: RunResults, provenance: Provenance) -> list[Row]:
    """Return name and value of all that the result came from."""
    return [
        ("commit of the workflow", provenance.workflow),
        ("commit of params.yaml", provenance.params),
        *revision_rows(run),
        *dataset_rows(run),
        *model_rows(run),
        *(
            (f"sha256 of {folder}/manifest.json", digest)
            for folder, digest in run.manifest_sha256.items()
        ),
    ]


def revision_rows(run: RunResults) -> list[Row]:
    """Return name and commit of what came from the hub."""
    model = run.settings.model
    revisions = [
        (f"dataset {part.name}".strip(), part.settings.name, part.settings.revision)
        for part in parts_of(run)
    ]
    revisions.append(("model", model.name, model.revision))
    return [
        (f"revision of the {kind}", f"{name} at {revision}")
        for kind, name, revision in revisions
        if revision
    ]


def dataset_rows(run: RunResults) -> list[Row]:
    """Return the user's own data by name, with its checksums."""
    return [
        row
        for part in parts_of(run)
        if part.settings.source == "local"
        for split, files in (part.origin.sources or {}).items()
        for row in file_rows(
            files, f" ({f'{part.name} {split}'.strip()})", "data/raw/manifest.json"
        )
    ]


def model_rows(run: RunResults) -> list[Row]:
    """Return the files of the user's own model by name, with their checksums."""
    if run.settings.model.source != "local":
        return []
    where = f" ({title_of_base(run.settings.model)})"
    return file_rows(run.base.sources or (), where, "models/base/manifest.json")


def file_rows(files: Sequence[FileEntry], where: str, manifest: str) -> list[Row]:
    """Return name and checksum of the first files, and where the others are listed."""
    rows: list[Row] = [
        (f"sha256 of {public_name(file.path)}{where}", file.sha256)
        for file in files[:MOST_FILES]
    ]
    if more := len(files) - len(rows):
        rows.append((f"{counted(more, 'more file')}{where}", f"see {manifest}"))
    return rows


def machine_rows(provenance: Provenance) -> list[Row]:
    """Return name and value of the machine that trained, and of its packages."""
    return [*provenance.machine.items(), *provenance.packages.items()]
