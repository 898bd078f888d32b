"""Names what differs between two values of a setting, in the words of params.yaml."""

import json
from collections.abc import Iterator

# Number of characters of a value; a longer one is cut.
WIDEST_VALUE = 32
ABSENT = object()


def name_changes(name: str, before: object, now: object) -> Iterator[str]:
    """Yield a text per changed setting, as in `finetune.epochs: 1 -> 2`.

    Args:
        name: Name of the section or setting; empty for all of params.yaml.
        before: Value of that time; of a section, a mapping of its settings.
        now: Value of this time, in the same form.
    """
    if not (isinstance(before, dict) and isinstance(now, dict)):
        yield name_change(name, before, now)
    elif before.get("source") != now.get("source"):
        # All other keys of the section change with the source.
        yield name_change(name, origin(before), origin(now))
    else:
        for key in [*now, *(key for key in before if key not in now)]:
            old, new = before.get(key, ABSENT), now.get(key, ABSENT)
            if old != new:
                yield from name_changes(f"{name}.{key}".strip("."), old, new)


def name_change(name: str, before: object, now: object) -> str:
    """Return the two values of a setting; of long ones, that they differ."""
    old, new = show(before), show(now)
    return f"{name}: {old} -> {new}" if old != new else f"{name}: another {old}"


def origin(section: dict[str, object]) -> str:
    """Return where a dataset or a model comes from."""
    source = section.get("source")
    where = section.get("name") or section.get("folder")
    if isinstance(sources := section.get("sources"), dict):
        where = where or ", ".join(sources)
    files_of_splits = section.get("files")
    if isinstance(files_of_splits, dict):
        for files in files_of_splits.values():
            where = where or ", ".join(files)
    return f"{source} {where}" if where else str(source)


def show(value: object) -> str:
    """Return a value as in params.yaml, short enough for a line."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) <= WIDEST_VALUE:
        return text
    if isinstance(value, list | dict):
        return f"[{len(value)} values]"
    return f"{text[: WIDEST_VALUE - 1]}…"
