"""What a result came from, as rows of plain text."""

from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import RunResults
from retune.training.provenance import Provenance


def provenance_rows(run: RunResults, provenance: Provenance) -> list[Row]:
    """Return name and value of all that the result came from."""
    revisions = {"dataset": run.settings.dataset, "model": run.settings.model}
    return [
        ("commit of the project", provenance.commit),
        *(
            (f"revision of the {name}", f"{settings.name} at {settings.revision}")
            for name, settings in revisions.items()
            if settings.revision
        ),
        *(
            (f"sha256 of {folder}/manifest.json", digest)
            for folder, digest in run.manifest_sha256.items()
        ),
    ]


def machine_rows(provenance: Provenance) -> list[Row]:
    """Return name and value of the machine that trained, and of its packages."""
    return [*provenance.machine.items(), *provenance.packages.items()]
