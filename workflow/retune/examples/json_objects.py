"""Text and group of a JSON object."""

from retune.examples.columns import wrong_group_type, wrong_type
from retune.examples.rows import Row, SourceFile, check_text
from retune.settings import DatasetSettings


class Pairs(list[tuple[str, object]]):
    """The keys and values of a JSON object, also where a key occurs twice."""


# What JSON calls the types that Python's parser makes of it.
JSON_TYPES = {"Pairs": "object", "list": "array", "bool": "boolean"}


def row_of(
    settings: DatasetSettings, record: Pairs, file: SourceFile, place: str
) -> Row:
    """Return text and group of a JSON object; a key that it lacks is null.

    Args:
        settings: The section `dataset`.
        record: Keys and values of the object; of equal keys the last one counts.
        file: The file that holds the object.
        place: Place of the object in the file, for messages.

    Raises:
        RetuneError: If a value is not of the type that its column needs.
    """
    where = f"{file.name}, {place}"
    values = dict(record)
    text = values.get(settings.text_column)
    if not isinstance(text, str | None):
        raise wrong_type(settings, json_type(text), file, where)
    if text:
        check_text(text, settings.text_column, file, place)
    column = settings.group_column
    value = values.get(column) if column else None
    if column is None or value is None:
        return Row(text, None)
    if isinstance(value, list):
        raise wrong_group_type(column, json_type(value), where)
    return Row(text, check_text(group_name(value), column, file, place))


def group_name(value: object) -> str:
    """Return the name of a group; 1 and 1.0 are one group, as they are one number."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def json_type(value: object) -> str:
    """Return what JSON calls the type of a value."""
    name = type(value).__name__
    return JSON_TYPES.get(name, name)
