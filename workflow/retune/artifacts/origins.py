"""Where the dataset and the base model of a run come from.

The steps that bring them, `download` and `fetch`, record it in the manifests of their
folders, for the report.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact, SealedArtifact
from retune.artifacts.publishing import MANIFEST, sha256, write_manifest
from retune.settings import ModelSettings, Split
from retune.settings.dataset import Format


class FileEntry(Artifact):
    """A file of a source, as it was when it was read.

    Attributes:
        path: Path of the file: as the settings name it, or within the repository.
        size: Size of the file, bytes.
        sha256: SHA-256 of its bytes, hexadecimal.
    """

    path: str
    size: int
    sha256: str

    @classmethod
    def of_file(cls, file: Path, path: str) -> Self:
        """Return the entry of a file that is recorded under another path."""
        return cls(path=path, size=file.stat().st_size, sha256=sha256(file))


def file_entries(files: Iterable[tuple[Path, str]]) -> tuple[FileEntry, ...]:
    """Return the entries of files, each with the path that it is recorded under."""
    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(lambda file: FileEntry.of_file(*file), files))


class Origin(SealedArtifact):
    """What the manifest of a folder says beside the list of the folder's files."""

    def write_into(self, folder: Path) -> None:
        """Write the manifest of a folder whose other files are complete."""
        write_manifest(folder, **self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def read_from(cls, folder: Path) -> Self:
        """Return the origin that the manifest of a folder records.

        Raises:
            RetuneError: If the manifest is damaged, missing or of another format.
        """
        return cls.read_verified(folder / MANIFEST)


class DataOrigin(Origin):
    """Where the documents in data/raw come from; what does not apply is None.

    Attributes:
        format: Number of this format.
        source: Kind of source, as in the section `dataset`.
        parts: Where the documents of each source come from, by its name, if there are
            several.
        name: Name of the dataset on the hub.
        revision: Commit of the dataset on the hub, 40 hex digits.
        subset: Name of the configuration of the dataset on the hub.
        sources: Files that were read, by split.
        row_format: What their rows are: `text`, `instruction`, `completion` or
            `messages`.
        columns: Column of the files that held each value of that format.
        python_version: Version of the Python whose documentation was read.
        documents: Number of documents in the built-in corpus.
        corpus_sha256: SHA-256 of the ids and texts of the built-in corpus.
        licence: Licence of the texts, where it is known.
        attribution: Holder of the copyright, where it is known.
        datasets_version: Version of `datasets`, which says what the files mean.
        pyarrow_version: Version of pyarrow, which read and wrote the texts.
    """

    STEP: ClassVar = "download"

    format: Literal[1] = 1
    source: Literal["builtin", "hub", "local", "several"]
    parts: "dict[str, DataOrigin] | None" = None
    name: str | None = None
    revision: str | None = None
    subset: str | None = None
    sources: dict[Split, tuple[FileEntry, ...]] | None = None
    row_format: Format | None = None
    columns: dict[str, str] | None = None
    python_version: str | None = None
    documents: int | None = None
    corpus_sha256: str | None = None
    licence: str | None = None
    attribution: str | None = None
    datasets_version: str | None = None
    pyarrow_version: str | None = None


class ModelOrigin(Origin):
    """Where the base model in models/base comes from; what does not apply is None.

    Attributes:
        format: Number of this format.
        source: Kind of source, as in the section `model`.
        name: Name of the model on the hub.
        revision: Commit of the model on the hub, 40 hex digits.
        path: Folder of a local model, as the settings name it.
        sources: Files of a local model as they were copied.
        built_from: Settings that the built-in model was made from.
    """

    STEP: ClassVar = "fetch"

    format: Literal[1] = 1
    source: Literal["builtin", "hub", "local"]
    name: str | None = None
    revision: str | None = None
    path: str | None = None
    sources: tuple[FileEntry, ...] | None = None
    built_from: ModelSettings | None = None
