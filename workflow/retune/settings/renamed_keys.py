"""Keys of params.yaml that had another name, which is still accepted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RenamedKey:
    """A key that had another name, or stood in another section.

    Attributes:
        old: The name that it had, as `section.key`.
        new: The name that it has, as `section.key`.
    """

    old: str
    new: str


RENAMED_KEYS = (
    RenamedKey("hardware.gpus_per_node", "hardware.ranks_per_node"),
    RenamedKey("hardware.peak_tflops", "report.peak_tflops"),
    RenamedKey("evaluate.prompts", "sample.prompts"),
    RenamedKey("evaluate.max_new_tokens", "sample.max_new_tokens"),
)


def rename_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Return what params.yaml holds, with every key under its new name.

    Where both names are given, the value of the new one is kept.
    """
    renamed = dict(values)
    for key in old_keys_in(values):
        section, _, name = key.old.partition(".")
        old_section = dict(renamed[section])
        value = old_section.pop(name)
        renamed[section] = old_section
        section, _, name = key.new.partition(".")
        new_section = renamed.get(section) or {}
        if isinstance(new_section, dict):
            renamed[section] = {name: value, **new_section}
    return renamed


def renaming_hints(values: dict[str, Any]) -> list[str]:
    """Return a line for each old name that params.yaml has."""
    return [
        f"{key.old}: is called {key.new} now; please rename it"
        for key in old_keys_in(values)
    ]


def renaming_problems(values: dict[str, Any]) -> list[str]:
    """Return a line for each key that is given under both of its names."""
    return [
        f"{key.old}: is the old name of {key.new}, which is given, too; keep that one"
        for key in old_keys_in(values)
        if is_given(key.new, values)
    ]


def old_keys_in(values: dict[str, Any]) -> Iterator[RenamedKey]:
    """Yield the keys that have their old names."""
    return (key for key in RENAMED_KEYS if is_given(key.old, values))


def is_given(name: str, values: dict[str, Any]) -> bool:
    """Return whether a key, named as `section.key`, has a value."""
    section, _, key = name.partition(".")
    keys = values.get(section)
    return isinstance(keys, dict) and key in keys
