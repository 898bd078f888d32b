"""Halves of surrogate pairs, which JSON may spell and no text can hold."""

import re
from collections.abc import Mapping

HALF = re.compile(r"[\ud800-\udfff]")


def half_pair_in(value: object, path: str = "") -> tuple[str, str] | None:
    """Return where a value first holds half of a surrogate pair, and that half.

    Args:
        value: A value as Python's parser makes it of JSON.
        path: Place of the value, with which the result begins.

    Returns:
        None if it holds none at any depth.
    """
    if isinstance(value, str):
        found = HALF.search(value)
        return (path, found[0]) if found else None
    if isinstance(value, Mapping):
        for key, part in value.items():
            below = f"{path}.{key}" if path else str(key)
            if found_below := half_pair_in(key, path) or half_pair_in(part, below):
                return found_below
    if isinstance(value, list | tuple):
        for number, part in enumerate(value):
            if found_below := half_pair_in(part, f"{path}[{number}]"):
                return found_below
    return None
