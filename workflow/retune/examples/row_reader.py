"""Makes rows of what the files of a dataset hold, whatever format they have."""

from collections.abc import Callable, Collection, Mapping

from retune.errors import RetuneError
from retune.examples.columns import check_repeated, missing_group
from retune.examples.completions import completion_of
from retune.examples.conversations import (
    as_settings_say,
    conversation_of,
    conversation_of_instruction,
)
from retune.examples.example import Completion, Conversation, Example, split_thought
from retune.examples.misfits import Misfit, text_at
from retune.examples.row_fields import RowFields
from retune.examples.row_format import (
    RowFormat,
    check_goes_with,
    possible_formats,
    recognize,
)
from retune.examples.rows import Row, SourceFile, check_text
from retune.examples.surrogates import half_pair_in
from retune.settings import SourceSettings
from retune.settings.dataset import Format

EXAMPLE_OF: dict[Format, Callable[[RowFields], Example]] = {
    "instruction": conversation_of_instruction,
    "completion": completion_of,
    "messages": conversation_of,
}


class RowReader:
    """Makes rows of what the files of a dataset hold.

    The first row says of what format all rows are.

    Attributes:
        settings: The section `dataset`.
        has_tools: Whether a row so far had tools.
    """

    def __init__(self, settings: SourceSettings) -> None:
        """Begin without a row."""
        self.settings = settings
        self.has_tools = False
        self._format: RowFormat | None = None
        self._seen: set[str] = set()

    @property
    def format(self) -> RowFormat:
        """What the rows are; a first row must have been there."""
        assert self._format is not None
        return self._format

    @property
    def columns(self) -> dict[str, str]:
        """Column that held each value of the format, without those never there."""
        named = self.format.columns
        return {key: name for key, name in named.items() if name in self._seen}

    @property
    def columns_to_read(self) -> list[str]:
        """Names of the columns that are read where they are there."""
        group = self.settings.group_column
        named = [*self.format.columns.values(), *([group] if group else [])]
        return list(dict.fromkeys(named))

    @property
    def recognized(self) -> str:
        """What the rows are, before their number: empty for texts."""
        if self._format is None or self._format.name == "text":
            return ""
        return f"{self._format.name}{' with tools' if self.has_tools else ''}: "

    def check_columns(
        self,
        columns: list[str],
        file: SourceFile,
        place: str = "",
        *,
        may_lack: bool = False,
    ) -> None:
        """Raise unless rows with these columns are of the format of all.

        Args:
            columns: Names of all columns, in order.
            file: The file that has them.
            place: Place in the file of the row that has them; empty for all rows.
            may_lack: Whether a text and a group may be missing, which are null then.

        Raises:
            RetuneError: If a column is missing or repeated, or the format is another.
        """
        where = f"{file.name}, {place}" if place else file.name
        problems = [] if may_lack else missing_group(self.settings, columns, where)
        try:
            self._check_format(columns, file, place, may_lack=may_lack)
        except RetuneError as error:
            problems.insert(0, str(error))
        if problems:
            raise RetuneError("\n".join(problems))
        check_repeated(self.settings, self.format, columns, where)
        self._seen.update(name for name in self.columns_to_read if name in columns)

    def row(
        self,
        values: Mapping[str, object],
        group: str | None,
        file: SourceFile,
        place: str,
    ) -> Row:
        """Return a row of the file.

        Args:
            values: Value of each column; one that is missing is null.
            group: Name of the row's group.
            file: The file that holds the row.
            place: Place of the row in the file.

        Raises:
            RetuneError: If a value is not as the format has it.
        """
        try:
            content = self._content(values, file, place)
        except Misfit as error:
            raise file.problem(error.problem, f"{place}, {error.path}") from None
        return Row(content, group)

    def check_named_columns(self) -> None:
        """Raise RetuneError if no row had a column that the settings name."""
        problems = [
            f"dataset.columns.{key}: no row has a column {name!r}"
            for key, name in self.settings.columns.items()
            if name not in self._seen
        ]
        if problems:
            raise RetuneError("\n".join(problems))

    def _check_format(
        self, columns: list[str], file: SourceFile, place: str, *, may_lack: bool
    ) -> None:
        """Raise RetuneError unless rows with these columns are of the format of all."""
        where = f"{file.name}, {place}" if place else file.name
        if self._format is None:
            self._format = recognize(self.settings, columns, where)
            check_goes_with(self.settings, self._format)
        elif self._format.fits(columns):
            recognize(self.settings, columns, where)
        elif not (may_lack and self._may_lack_text(columns)):
            lacking = [name for name in self.format.required if name not in columns]
            raise file.problem(
                f"has no column {lacking[0]!r}, which the {self.format.name} rows"
                f" before it have; there are: {', '.join(columns) or 'none'}",
                place,
            )

    def _content(
        self, values: Mapping[str, object], file: SourceFile, place: str
    ) -> str | None:
        """Return the text of a row, or its example as a line of JSON."""
        row_format = self.format
        if row_format.name == "text":
            column = row_format.columns["text"]
            if values.get(column) is None:
                return None
            return check_text(text_at(values[column], column), column, file, place)
        example = EXAMPLE_OF[row_format.name](RowFields(values, row_format.columns))
        if isinstance(example, Conversation):
            self.has_tools = self.has_tools or bool(example.tools)
            example = as_settings_say(example, self.settings)
        elif self.settings.reasoning == "drop":
            _, answer = split_thought(example.completion)
            example = Completion(example.prompt, answer)
        return checked_line(example, values, row_format)

    def _may_lack_text(self, columns: Collection[str]) -> bool:
        """Return whether a row without a text is one whose text is null."""
        possible = possible_formats(self.settings, columns)
        return self.format.name == "text" and not any(
            other.fits(columns) for other in possible
        )


def checked_line(
    example: Example, values: Mapping[str, object], row_format: RowFormat
) -> str:
    """Return an example as a line of JSON that UTF-8 can express.

    Raises:
        Misfit: If a text holds half of a surrogate pair, or JSON has no such value.
    """
    columns = ", ".join(row_format.required)
    try:
        line = example.to_json()
        line.encode()
    except UnicodeEncodeError:
        named = {name: values.get(name) for name in row_format.columns.values()}
        path, half = half_pair_in(named) or (columns, "")
        raise Misfit(
            path,
            f"holds half of a surrogate pair, {half!r}: no text can hold that; mend the"
            " file",
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise Misfit(columns, f"cannot be written as JSON: {error}") from None
    return line
