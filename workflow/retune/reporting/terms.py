"""What the documents of a run are called, and the measure of how they are predicted."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Terms:
    """The words for what a run was trained on; without others, those of texts.

    Attributes:
        document: What one document is called.
        measure: What is measured of the documents.
    """

    document: Literal["document", "example", "conversation"] = "document"
    measure: str = "bits per byte"

    @property
    def documents(self) -> str:
        """What several documents are called."""
        return f"{self.document}s"

    @property
    def has_answers(self) -> bool:
        """Whether only answers are trained and scored."""
        return self.document != "document"


TEXTS = Terms()
OF_ANSWERS = "bits per byte of the answers"
EXAMPLES = Terms("example", OF_ANSWERS)
CONVERSATIONS = Terms("conversation", OF_ANSWERS)
