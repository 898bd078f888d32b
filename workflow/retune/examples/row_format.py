"""What the rows of a dataset are: recognized by the names of their columns.

The settings may name the format, or columns that only one format has; else the columns
must fit exactly one.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import get_args

from retune.errors import RetuneError
from retune.examples.column_hints import hint_of, is_preference, preference_problem
from retune.settings import SourceSettings, default_of
from retune.settings.dataset import FOR_CONVERSATIONS, FORMATS, Format

# The values that each row of a format must have; the others may be missing.
REQUIRED: dict[Format, tuple[str, ...]] = {
    "text": ("text",),
    "instruction": ("instruction", "output"),
    "completion": ("prompt", "completion"),
    "messages": ("messages",),
}
# The column of messages as ShareGPT calls it.
SHAREGPT = "conversations"
MEDIA = ("image", "images", "audio", "audios", "video", "videos")
TOOLS = ("tools", "functions")
REASONING = ("reasoning", "reasoning_content", "thinking")
# Columns that say more of a row than is trained on: what was said before, which tools
# there are, whether the answer is a good one, and what is no text.
NOT_READ: dict[Format, tuple[str, ...]] = {
    "text": (),
    "instruction": ("history", *TOOLS, *REASONING, *MEDIA),
    "completion": ("label", "system", *TOOLS, *REASONING, *MEDIA),
    "messages": ("label", "functions", "chat_template_kwargs", *MEDIA),
}


@dataclass(frozen=True)
class RowFormat:
    """What the rows of a dataset are.

    Attributes:
        name: Name of the format.
        columns: Column that holds each value of the format, whether it is there or not.
    """

    name: Format
    columns: dict[str, str]

    @property
    def required(self) -> list[str]:
        """Columns without which a row is not of the format."""
        return [self.columns[key] for key in REQUIRED[self.name]]

    def fits(self, columns: Collection[str]) -> bool:
        """Return whether rows with these columns may be of the format."""
        return all(column in columns for column in self.required)


def recognize(
    settings: SourceSettings, columns: Collection[str], where: str
) -> RowFormat:
    """Return what rows with these columns are.

    Args:
        settings: The section `dataset`.
        columns: Names of all columns.
        where: The file and the place in it, for messages.

    Raises:
        RetuneError: If a column is missing, or not exactly one format fits.
    """
    check_one_conversation(settings, columns, where)
    possible = possible_formats(settings, columns)
    if len(possible) == 1:
        check_required(settings, possible[0], columns, where)
        if settings.format == "auto":
            check_not_read(possible[0], columns, where)
        return possible[0]
    if is_preference(columns):
        raise preference_problem(columns, where)
    fitting = [one for one in possible if one.fits(columns)]
    if not fitting:
        raise RetuneError(
            f"dataset.format: {where} fits no format; its columns:"
            f" {', '.join(columns) or 'none'}\n{hint_of(columns)}"
        )
    if len(fitting) > 1:
        names = [one.name for one in fitting]
        needed = [column for one in fitting for column in one.required]
        raise RetuneError(
            f"dataset.format: {where} has the columns {', '.join(needed)}, which fit"
            f" more than one format: write dataset.format: {' or '.join(names)}"
        )
    (found,) = fitting
    check_not_read(found, columns, where)
    return found


def check_not_read(row_format: RowFormat, columns: Collection[str], where: str) -> None:
    """Raise RetuneError for a column that says more of a row than is trained on."""
    for column in NOT_READ[row_format.name]:
        if column in columns and column not in row_format.columns.values():
            raise RetuneError(
                f"dataset.format: {where} has a column {column!r}, which format"
                f" {row_format.name} does not read: dataset.format:"
                f" {row_format.name} leaves it out"
            )


def possible_formats(
    settings: SourceSettings, columns: Collection[str]
) -> list[RowFormat]:
    """Return the formats that the settings leave open."""
    names: Iterable[Format] = get_args(Format)
    if settings.format != "auto":
        names = [settings.format]
    elif settings.text_column != default_of(settings, "text_column"):
        names = ["text"]
    elif settings.columns:
        names = [name for name in names if {*settings.columns} <= {*FORMATS[name]}]
    return [format_named(name, settings, columns) for name in names]


def format_named(
    name: Format, settings: SourceSettings, columns: Collection[str]
) -> RowFormat:
    """Return a format with the columns that the settings name for it."""
    named = {key: settings.columns.get(key, key) for key in FORMATS[name]}
    if name == "text":
        named["text"] = settings.text_column
    is_sharegpt = SHAREGPT in columns and "messages" not in columns
    if name == "messages" and "messages" not in settings.columns and is_sharegpt:
        named["messages"] = SHAREGPT
    return RowFormat(name, named)


def check_one_conversation(
    settings: SourceSettings, columns: Collection[str], where: str
) -> None:
    """Raise RetuneError if there are two columns of messages, and none is named."""
    may_be_messages = settings.format in ("auto", "messages")
    is_open = may_be_messages and "messages" not in settings.columns
    if is_open and {"messages", SHAREGPT} <= {*columns}:
        raise RetuneError(
            f"dataset.columns: {where} has the columns messages and {SHAREGPT}: write"
            f" dataset.columns: {{messages: {SHAREGPT}}}, or {{messages: messages}}"
        )


def check_required(
    settings: SourceSettings,
    row_format: RowFormat,
    columns: Collection[str],
    where: str,
) -> None:
    """Raise RetuneError unless all columns are there that a format needs."""
    problems = [
        f"{setting_of(key, settings, row_format)}: {where} has no column {column!r};"
        f" there are: {', '.join(columns) or 'none'}"
        for key, column in row_format.columns.items()
        if column in row_format.required and column not in columns
    ]
    if problems:
        raise RetuneError("\n".join(problems))


def setting_of(key: str, settings: SourceSettings, row_format: RowFormat) -> str:
    """Return the key of params.yaml that names a column of a format."""
    if row_format.name == "text":
        return "dataset.text_column"
    return f"dataset.columns.{key}" if key in settings.columns else "dataset.format"


def check_goes_with(settings: SourceSettings, row_format: RowFormat) -> None:
    """Raise RetuneError for a setting that does not go with the recognized format.

    Where the settings name the format, they have been checked before.
    """
    if row_format.name != "text" and settings.document_start:
        raise RetuneError(
            "dataset.document_start: joins texts, but the rows are of the format"
            f" {row_format.name}: leave it out, or write dataset.format: text"
        )
    if row_format.name == "text":
        for key in FOR_CONVERSATIONS:
            if getattr(settings, key) != default_of(settings, key):
                raise RetuneError(
                    f"dataset.{key}: goes with conversations, but the rows are texts:"
                    " leave it out"
                )
