"""The findings in single keys: unknown, removed, renamed, of a wrong value, "auto"."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from retune.linting.auto_values import auto_finding
from retune.linting.batch import SIZES
from retune.linting.finding import Finding, error, warning
from retune.linting.known_keys import DEVICES, TOP, at
from retune.linting.read_config import ReadConfig
from retune.linting.removed_keys import REMOVED, RENAMED, WITHOUT_EFFECT
from retune.linting.value import Section, Value
from retune.linting.wrong_values import JOINED, after_text

# How alike two names are, from 0 to 1, if one is likely a slip of the other.
ALIKE = 0.8
# What keys of other libraries, or slips that are no slips of the pen, stand for.
MEANT = {
    "gradient_accumulation_dtype": "data_types.grad_accum_dtype",
    "max_grad_norm": "gradient_clipping",
    "lr": "optimizer.params.lr",
    "learning_rate": "optimizer.params.lr",
    "zero": "zero_optimization",
    "zero_stage": "zero_optimization.stage",
}
# Names of keys at several places, and names that say nothing of their place.
COMMON = ("enabled", "type", "params", "dtype", "device", "seed")


def single_keys(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with single keys, in the order of the file."""
    yield from in_section(config, TOP, config.written, "")


def in_section(
    config: ReadConfig, section: Section, found: Mapping[str, Any], prefix: str
) -> Iterator[Finding]:
    """Yield what is wrong with the keys of one object.

    Args:
        config: The whole config.
        section: What DeepSpeed reads in the object.
        found: The object.
        prefix: Full name of the object and a dot, or nothing for the whole config.
    """
    for name, value in found.items():
        key = f"{prefix}{name}"
        first = section.other_names.get(name, name)
        known = section.keys.get(first)
        if key in REMOVED:
            yield error(key, "DeepSpeed has removed it and refuses it", REMOVED[key])
        elif known is None:
            if not section.more:
                yield unknown(name, value, section, prefix)
        elif first != name and first in found:
            both = f"DeepSpeed refuses it beside {first}, which is the same key"
            yield error(key, both, "keep one of them")
        else:
            yield from renamed(config, key)
            yield from of_key(config, key, known, value, section.checked)


def unknown(name: str, value: Any, section: Section, prefix: str) -> Finding:
    """Return the finding for a key that DeepSpeed does not know.

    Args:
        name: The key.
        value: Its value.
        section: What DeepSpeed reads in the object that it is in.
        prefix: Full name of that object and a dot, or nothing for the whole config.
    """
    key = f"{prefix}{name}"
    mend = mend_of_unknown(name, value, section, prefix)
    if section.checked:
        happens = f"unknown: DeepSpeed refuses {prefix.rstrip('.')} with it"
        return error(key, happens, mend)
    is_comment = name.startswith("_") or "comment" in name.lower()
    happens = "unknown: DeepSpeed ignores it silently"
    return (warning if is_comment else error)(key, happens, mend)


def mend_of_unknown(name: str, value: Any, section: Section, prefix: str) -> str:
    """Return what to write instead of an unknown key."""
    key = f"{prefix}{name}"
    if "." in name and at(key) is not None:
        first, _, rest = name.partition(".")
        return f'write nested objects: {{"{first}": {{"{rest}": ...}}}}'
    meant = MEANT.get(name)
    if meant is not None and not key.startswith(meant):
        return f"it belongs at {meant}"
    names = {**section.keys, **{one: None for one in section.other_names}}
    may_be = [one for one, known in names.items() if suits(known, value)]
    if like := nearest(name, may_be):
        return f"write {like}"
    elsewhere = (place for place, known in places(name) if suits(known, value))
    place = next((one for one in elsewhere if not key.startswith(f"{one}.")), None)
    return f"it belongs at {place}" if place else "delete it"


def suits(known: Value | Section | None, value: Any) -> bool:
    """Return whether a value is an object just where one is known."""
    return isinstance(known, Section) == isinstance(value, Mapping)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name most like another, or None if none is."""
    lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=ALIKE)
    return lower[close[0]] if close else None


def places(
    name: str, section: Section = TOP, prefix: str = ""
) -> Iterator[tuple[str, Value | Section]]:
    """Yield the full names of all known keys of a name, and what they take."""
    if name in COMMON:
        return
    for key, known in section.keys.items():
        if key == name:
            yield f"{prefix}{key}", known
        if isinstance(known, Section):
            yield from places(name, known, f"{prefix}{key}.")


def renamed(config: ReadConfig, key: str) -> Iterator[Finding]:
    """Yield the finding for a key with an old name."""
    if key in WITHOUT_EFFECT:
        mend = "delete it; offload_optimizer and offload_param have pin_memory"
        yield warning(key, "old: DeepSpeed reads it and does nothing with it", mend)
    elif key in RENAMED:
        new = RENAMED[key].rsplit(".", 1)[1]
        if config.given(RENAMED[key]):
            yield error(key, f"DeepSpeed refuses it beside {new}", "delete it")
        elif config.as_written(key) not in (False, None):
            is_offload = new.startswith("offload")
            write = f'"{new}": {{"device": "cpu"}}' if is_offload else f"{new}"
            yield warning(
                key, "old name, which DeepSpeed still takes", f"write {write}"
            )


def of_key(
    config: ReadConfig, key: str, known: Value | Section, value: Any, checked: bool
) -> Iterator[Finding]:
    """Yield what is wrong with the value of a known key.

    Args:
        config: The whole config.
        key: Full name of the key.
        known: What it takes.
        value: Its value.
        checked: Whether a pydantic model reads the object that the key is in.
    """
    if key == "steps_per_print" and config.training.transformers:
        return  # Accelerate replaces it, whatever it is.
    if value == "auto" and isinstance(value, str):
        if finding := auto_finding(config, key, known, checked):
            yield finding
    elif isinstance(known, Section):
        yield from of_section(config, key, known, value)
    elif key in SIZES:
        return
    elif not known.accepts(value):
        if checked:
            yield refused(key, known, value)
        else:
            yield from misread(key, known, value)
    elif isinstance(value, bool) != (known.kind == "boolean") or isinstance(value, str):
        yield from converted(key, known, value, checked)


def of_section(
    config: ReadConfig, key: str, known: Section, value: Any
) -> Iterator[Finding]:
    """Yield what is wrong with an object of the config."""
    if isinstance(value, Mapping):
        yield from in_section(config, known, value, f"{key}.")
    elif key == "zero_optimization" and isinstance(value, bool):
        stage = f"DeepSpeed takes it as stage {int(value)}"
        yield warning(key, f"old form: {stage}", f'write {{"stage": {int(value)}}}')
    elif value is not None or not known.null:
        happens = f"{shown(value)} is no object: DeepSpeed refuses it"
        yield error(key, happens, f"write {object_for(known, value)}")


def object_for(known: Section, value: Any) -> str:
    """Return the object that is meant by a value in its place, or any."""
    if "enabled" in known.keys and isinstance(value, bool):
        return f'{{"enabled": {shown(value)}}}'
    if "device" in known.keys and value in DEVICES:
        return f'{{"device": {shown(value)}}}'
    return "{...}"


def refused(key: str, known: Value, value: Any) -> Finding:
    """Return the finding for a value that a pydantic model refuses."""
    happens = f"DeepSpeed refuses {shown(value)}"
    return error(key, happens, f"it takes {known.words()}")


def misread(key: str, known: Value, value: Any) -> Iterator[Finding]:
    """Yield the finding for a value that no pydantic model checks."""
    is_joined = key in JOINED and not isinstance(value, int)
    is_tested_only = known.kind == "boolean" and not is_joined
    if is_tested_only and value is None and not known.default:
        return
    if is_tested_only and isinstance(value, str):
        happens = f"DeepSpeed takes any text as true, also {shown(value)}"
    elif is_tested_only:
        happens = f"DeepSpeed takes {shown(value)} as {str(bool(value)).lower()}"
    elif isinstance(value, int | float) and known.kind in ("integer", "number"):
        happens = f"{shown(value)} is no value for DeepSpeed, which may not check it"
    else:
        happens = after_text(key, shown(value))
    yield error(key, happens, f"it takes {known.words()}")


def converted(key: str, known: Value, value: Any, checked: bool) -> Iterator[Finding]:
    """Yield the finding for a value of another type that DeepSpeed takes as well."""
    if isinstance(value, bool) and known.kind in ("integer", "number"):
        happens = f"DeepSpeed takes {shown(value)} as {int(value)}"
        yield error(key, happens, f"it takes {known.words()}")
    elif isinstance(value, str) and known.kind in ("integer", "number", "boolean"):
        if not checked:
            yield from misread(key, known, value)
            return
        happens = "a text: DeepSpeed converts it, other readers of the file do not"
        plain = value.strip().lower().replace("_", "")
        yield warning(key, happens, f"write {plain} without quotes")


def shown(value: Any) -> str:
    """Return a value as JSON has it, shortened."""
    written = json.dumps(value)
    return written if len(written) <= 40 else f"{written[:37]}..."
