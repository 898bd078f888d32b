"""The values of a row under the names that its format has for them."""

from collections.abc import Mapping
from dataclasses import dataclass

from retune.examples.misfits import text_at


@dataclass(frozen=True, slots=True)
class RowFields:
    """The values of a row.

    Attributes:
        values: Value of each column of the file.
        columns: Column that holds each value of the format.
    """

    values: Mapping[str, object]
    columns: Mapping[str, str]

    def __getitem__(self, key: str) -> object:
        """Return a value of the format; None if the row lacks it."""
        return self.values.get(self.columns[key])

    def text(self, key: str) -> str:
        """Return a value that is a text; empty if the row lacks it.

        Raises:
            Misfit: If it is no text.
        """
        return text_at(self[key], self.columns[key])
