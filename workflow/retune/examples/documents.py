"""Documents: what the rows of a dataset become.

A row is a document, or a pattern says which rows start one and the rows up to the next
such row are joined to it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from retune.errors import RetuneError
from retune.examples.rows import Row
from retune.settings import Split


class Document(NamedTuple):
    """One document.

    Attributes:
        id: Name of the document that is unique in the dataset.
        group: Name of its group; documents of one group stay in one split.
        content: Its text, or its example as one line of JSON; None if a text is null.
    """

    id: str
    group: str
    content: str | None


def documents_of(
    rows: Iterable[Row], split: Split, document_start: str | None
) -> Iterator[Document]:
    """Yield the documents that the rows of a split make up.

    Args:
        rows: Rows of the split, in order.
        split: Name of the split, with which the ids begin.
        document_start: Regular expression that a row matches which starts a document;
            None if each row is a document.

    Raises:
        RetuneError: If no row matches `document_start`.
    """
    numbered = join_rows(rows, document_start) if document_start else enumerate(rows)
    for number, row in numbered:
        document_id = f"{split}-{number:09d}"
        yield Document(document_id, row.group or document_id, row.content)


def join_rows(rows: Iterable[Row], document_start: str) -> Iterator[tuple[int, Row]]:
    """Yield the number of each document's first row, and its rows joined as lines.

    What stands before the first match is a document too, unless it is blank.
    """
    try:
        starts = re.compile(document_start).search
    except re.error as error:
        raise RetuneError(
            f"dataset.document_start: {document_start!r}: {error}"
        ) from None
    matches, first, group = 0, 0, None
    lines: list[str] = []
    for number, row in enumerate(rows):
        text = row.content or ""
        is_start = starts(text) is not None
        matches += is_start
        if is_start or (not lines and text.strip()):
            if lines:
                yield first, Row("\n".join(lines), group)
            first, lines, group = number, [], row.group
            lines = [text.removesuffix("\n")]
        elif lines:
            lines.append(text.removesuffix("\n"))
    if not matches:
        raise RetuneError(f"dataset.document_start: {document_start!r} matches no row")
    yield first, Row("\n".join(lines), group)
