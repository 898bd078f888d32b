"""What the documents of a dataset are: texts, or examples, which have an answer.

All documents of a dataset are of one kind. The name of the kind is also the name of the
column that holds them.
"""

from collections.abc import Collection

from retune.artifacts.data_metrics import Kind
from retune.examples.example import COLUMN

# The column with the name of a document's source, where there are several.
SOURCE = "source"

# What people call a document of each kind.
NOUNS: dict[Kind, str] = {"text": "document", "example": "example"}
# The columns with what a document of each kind says, once `prepare` has read it.
TEXTS: dict[Kind, tuple[str, ...]] = {
    "text": ("text",),
    "example": ("question", "answer"),
}


def kind_of(columns: Collection[str]) -> Kind:
    """Return what the documents of a table with these columns are."""
    return "example" if COLUMN in columns else "text"


def noun_of(columns: Collection[str]) -> str:
    """Return what people call a document of a table with these columns."""
    return NOUNS[kind_of(columns)]


def stored_columns(kind: Kind, has_sources: bool = False) -> tuple[str, ...]:
    """Return the columns of data/raw/SPLIT.parquet and data/clean/SPLIT.parquet.

    Args:
        kind: What the documents are.
        has_sources: Whether they are of several sources.
    """
    return ("id", "group", kind, *([SOURCE] if has_sources else []))
