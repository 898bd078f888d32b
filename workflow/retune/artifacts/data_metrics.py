"""What became of the documents of a dataset: metrics/data.json."""

from typing import ClassVar, Literal

from retune.artifacts.artifact import Artifact, SealedArtifact
from retune.settings import Split


class RejectedDocuments(Artifact):
    """The documents that failed a check.

    Attributes:
        count: Number of documents.
        share: Fraction of all documents, 0 to 1.
        by_check: Number of documents by the check that they failed.
    """

    count: int
    share: float
    by_check: dict[str, int]


class OverlappingDocuments(Artifact):
    """The held-out documents that were removed for an overlap with train.

    Attributes:
        words: Length of a run of words that makes an overlap; 0: not looked for.
        removed: Number of documents removed from each held-out split.
    """

    words: int
    removed: dict[Split, int]


class DataMetrics(SealedArtifact):
    """Sizes of the clean splits, and numbers of the documents that were removed.

    Attributes:
        format: Number of this format.
        documents: Number of documents in each split.
        bytes: Size of the text of each split in UTF-8, bytes.
        words: Number of words in each split.
        groups: Number of groups in each split.
        rejected: Documents that failed a check.
        duplicates_removed: Number of documents that were removed as duplicates.
        in_other_splits: Number of documents of a split, by the other split that holds
            them, too; they stay only there.
        overlap: Documents that were removed for an overlap with train.
    """

    STEP: ClassVar = "prepare"

    format: Literal[1] = 1
    documents: dict[Split, int]
    bytes: dict[Split, int]
    words: dict[Split, int]
    groups: dict[Split, int]
    rejected: RejectedDocuments
    duplicates_removed: int
    in_other_splits: dict[Split, dict[Split, int]]
    overlap: OverlappingDocuments

    @property
    def kept_documents(self) -> int:
        """Number of documents in all splits together."""
        return sum(self.documents.values())

    @property
    def overlapping_documents(self) -> int:
        """Number of documents that were removed for an overlap with train."""
        return sum(self.overlap.removed.values())

    @property
    def raw_documents(self) -> int:
        """Number of documents that `download` brought: those kept, those removed."""
        return (
            self.kept_documents
            + self.rejected.count
            + self.duplicates_removed
            + self.overlapping_documents
        )
