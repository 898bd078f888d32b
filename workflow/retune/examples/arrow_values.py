"""Values of Arrow columns, made what Python's parser would make of the same JSON."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

Converter = Callable[[Any], object]


def converter(kind: pa.DataType) -> Converter:
    """Return what converts values of a type, as `to_pylist` gives them.

    All objects of a column have the same keys, so Arrow fills in a null where one lacks
    a key. These nulls are dropped.
    """
    if isinstance(kind, pa.JsonType):
        return json_value
    if pa.types.is_struct(kind):
        return struct_converter(kind)
    if is_list(kind):
        return each(converter(kind.value_type))
    return as_it_is


def message_converter(kind: pa.DataType) -> Converter:
    """Return what converts the values of a column of messages.

    The nulls of the messages themselves are kept, as their content may well be null.
    """
    if is_list(kind) and pa.types.is_struct(kind.value_type):
        return each(struct_converter(kind.value_type, keeps_nulls=True))
    return converter(kind)


def struct_converter(kind: pa.DataType, *, keeps_nulls: bool = False) -> Converter:
    """Return what converts the objects of a type."""
    converters = {field.name: converter(field.type) for field in kind}

    def convert(value: dict[str, Any] | None) -> object:
        if value is None:
            return None
        return {
            key: converters[key](part)
            for key, part in value.items()
            if keeps_nulls or part is not None
        }

    return convert


def each(convert: Converter) -> Converter:
    """Return what converts each value of a list."""

    def convert_all(values: list[Any] | None) -> object:
        return None if values is None else list(map(convert, values))

    return convert_all


def json_value(text: str | None) -> object:
    """Return what a text of JSON holds, as `datasets` stores what has no one type."""
    return None if text is None else json.loads(text)


def as_it_is(value: object) -> object:
    """Return a value that needs no change."""
    return value


def is_list(kind: pa.DataType) -> bool:
    """Return whether values of this type are lists."""
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )
