"""A value that the format of its row does not allow, and where in the row it stands."""

import json
from collections.abc import Mapping, Sequence

from retune.examples.json_objects import RepeatedKeys, object_of

# What users call the types that Python's parser makes of JSON.
JSON_TYPES = {
    "dict": "object",
    "RepeatedKeys": "object",
    "list": "array",
    "bool": "boolean",
    "str": "text",
    "NoneType": "null",
}


class Misfit(ValueError):
    """A value that the format of its row does not allow.

    Attributes:
        path: Place of the value in the row, such as `messages[2].content`.
        problem: What is wrong and what would be right; a predicate of the place.
    """

    def __init__(self, path: str, problem: str) -> None:
        """Keep what is wrong, and where."""
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


def json_type(value: object) -> str:
    """Return what users call the type of a value."""
    name = type(value).__name__
    return JSON_TYPES.get(name, name)


def wrong_type(value: object, path: str, right: str) -> Misfit:
    """Return the error for a value of another type than the right one."""
    return Misfit(path, f"is {json_type(value)}, should be {right}")


def text_at(value: object, path: str) -> str:
    """Return a value that is a text, or nothing where it is null."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong_type(value, path, "text")
    return value


def text_in(record: Mapping[str, object], key: str, path: str) -> str:
    """Return a value of an object that is a text; nothing where it is null or missing.

    Args:
        record: The object.
        key: Key of the value.
        path: Place of the object in the row.
    """
    value = record.get(key)
    return "" if value is None else text_at(value, f"{path}.{key}")


def list_at(value: object, path: str, right: str) -> Sequence[object]:
    """Return a value that is a list."""
    if not isinstance(value, list):
        raise wrong_type(value, path, right)
    return value


def object_at(value: object, path: str, right: str) -> Mapping[str, object]:
    """Return a value that is an object in which each key occurs once."""
    if type(value) is dict:
        return value
    if isinstance(value, RepeatedKeys):
        raise Misfit(
            path, f"has the key {value.repeated!r} twice, and which is meant is unknown"
        )
    raise wrong_type(value, path, right)


def parsed_json(text: str, path: str, right: str) -> object:
    """Return what a text of JSON holds."""
    try:
        return json.loads(text, object_pairs_hook=object_of)
    except (ValueError, RecursionError) as error:
        raise Misfit(
            path, f"is a text that is not JSON ({error}), should be {right}"
        ) from None
