"""The group of a row, whose documents stay in one split."""

from collections.abc import Mapping

from retune.errors import RetuneError
from retune.examples.misfits import json_type
from retune.examples.rows import SourceFile, check_text


def group_in(
    record: Mapping[str, object], column: str | None, file: SourceFile, place: str
) -> str | None:
    """Return the name of the group that a JSON object says.

    Args:
        record: The object.
        column: Key of the group; None if the settings name none.
        file: The file that holds the object.
        place: Place of the object in the file, for messages.

    Returns:
        None if the object lacks it.

    Raises:
        RetuneError: If the value is no text and no number.
    """
    value = record.get(column) if column else None
    if column is None or value is None:
        return None
    if isinstance(value, list | dict):
        raise wrong_group_type(column, json_type(value), f"{file.name}, {place}")
    return check_text(group_name(value), column, file, place)


def group_name(value: object) -> str:
    """Return the name of a group; 1 and 1.0 are one group, as they are one number."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def wrong_group_type(column: str, kind: str, where: str) -> RetuneError:
    """Return the error for a group column whose values cannot name a group."""
    return RetuneError(
        f"dataset.group_column: {column!r} of {where} is {kind}, should be text or a"
        " number"
    )
