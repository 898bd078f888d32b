"""What became of the documents of a dataset: metrics/data.json."""

from typing import ClassVar, Literal

from retune.artifacts.artifact import Artifact, SealedArtifact
from retune.settings import Split

# What the documents of a dataset are: texts, or examples, which have an answer.
Kind = Literal["text", "example"]


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


class OverlappingExamples(Artifact):
    """What held-out examples have in common with train, by held-out split.

    Attributes:
        by_answer: Number of examples that were removed because at least half of their
            answer is runs of words of train's answers.
        by_question: Number of the others that were removed because their whole question
            is also one of train.
        similar_questions: Number of examples that stay though their question shares a
            run of words with one of train.
    """

    by_answer: dict[Split, int]
    by_question: dict[Split, int]
    similar_questions: dict[Split, int]


class OverlappingDocuments(Artifact):
    """The held-out documents that were removed for an overlap with train.

    Attributes:
        words: Length of a run of words that makes an overlap; 0: not looked for.
        removed: Number of documents removed from each held-out split.
        examples: What overlaps in examples; None for texts, and if it was not looked
            for.
    """

    words: int
    removed: dict[Split, int]
    examples: OverlappingExamples | None = None


class TurnNumbers(Artifact):
    """How many of the assistant's turns the examples of a split have.

    Attributes:
        min: Smallest number.
        median: Median of the numbers.
        max: Largest number.
    """

    min: int
    median: float
    max: int


class ExampleNumbers(Artifact):
    """The numbers of the examples of one split.

    Attributes:
        turns: Numbers of the assistant's turns.
        trained_turns: Number of turns that are trained, in all examples together.
        with_tools: Number of examples with tools to call, or calls of them.
        with_system: Number of examples in which the system says something.
        with_reasoning: Number of examples in which the assistant thinks before an
            answer.
        without_blank: Number of completions whose first word follows the prompt's last
            one without a blank.
        question_bytes: Size of the questions in UTF-8, bytes.
        answer_bytes: Size of the answers in UTF-8, bytes.
    """

    turns: TurnNumbers
    trained_turns: int
    with_tools: int
    with_system: int
    with_reasoning: int
    without_blank: int = 0
    question_bytes: int
    answer_bytes: int


class DataMetrics(SealedArtifact):
    """Sizes of the clean splits, and numbers of the documents that were removed.

    Attributes:
        format: Number of this format.
        kind: What the documents are.
        documents: Number of documents in each split.
        bytes: Size of the text of each split in UTF-8, bytes. The text of an example is
            its question and its answer.
        words: Number of words in each split.
        groups: Number of groups in each split.
        rejected: Documents that failed a check.
        duplicates_removed: Number of documents that were removed as duplicates.
        near_duplicates_removed: Number of documents that were removed because another
            one says nearly the same.
        in_other_splits: Number of documents of a split, by the other split that holds
            them, too; they stay only there.
        overlap: Documents that were removed for an overlap with train.
        examples: Numbers of the examples of each split; None for texts.
    """

    STEP: ClassVar = "prepare"

    format: Literal[2] = 2
    kind: Kind
    documents: dict[Split, int]
    bytes: dict[Split, int]
    words: dict[Split, int]
    groups: dict[Split, int]
    rejected: RejectedDocuments
    duplicates_removed: int
    near_duplicates_removed: int = 0
    in_other_splits: dict[Split, dict[Split, int]]
    overlap: OverlappingDocuments
    examples: dict[Split, ExampleNumbers] | None = None

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
            + self.near_duplicates_removed
            + self.overlapping_documents
        )
