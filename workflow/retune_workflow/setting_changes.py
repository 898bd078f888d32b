"""Settings before and now, as a reader of params.yaml would tell the difference."""

import json
from collections.abc import Iterator
from typing import Any

# A longer value is cut.
WIDEST_VALUE = 32
ABSENT = object()


def describe_changes(name: str, before: Any, now: Any) -> Iterator[str]:
    """Yield a text per changed setting, as in `finetune.epochs: 1 -> 2`.

    Args:
        name: The section, or the setting; empty for all of params.yaml.
        before: Its value, a section's as a mapping.
        now: Likewise.
    """
    if not (isinstance(before, dict) and isinstance(now, dict)):
        yield describe_change(name, before, now)
    elif before.get("source") != now.get("source"):
        # All other keys of the section change with the source.
        yield describe_change(name, origin(before), origin(now))
    else:
        for key in [*now, *(key for key in before if key not in now)]:
            old, new = before.get(key, ABSENT), now.get(key, ABSENT)
            if old != new:
                yield from describe_changes(f"{name}.{key}".strip("."), old, new)


def describe_change(name: str, before: Any, now: Any) -> str:
    """Return the two values of a setting; of long ones, that they differ."""
    old, new = show(before), show(now)
    return f"{name}: {old} -> {new}" if old != new else f"{name}: another {old}"


def origin(section: dict[str, Any]) -> str:
    """Return where a dataset or a model comes from."""
    source = section.get("source")
    where = section.get("name") or section.get("folder")
    for files in (section.get("files") or {}).values():
        where = where or ", ".join(files)
    return f"{source} {where}" if where else str(source)


def show(value: Any) -> str:
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
