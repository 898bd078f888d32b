"""Reads a DeepSpeed config."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from retune.errors import RetuneError


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        RetuneError: If the file cannot be read, is no JSON, holds no object, or has a
            key twice in one object, which DeepSpeed refuses.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "no text in UTF-8"
        raise RetuneError(f"{path}: {reason}") from problem
    try:
        config = json.loads(text, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as problem:
        raise RetuneError(
            f"{path}, line {problem.lineno}, column {problem.colno}: no JSON:"
            f" {problem.msg}"
        ) from problem
    except RepeatedKeyError as repeated:
        raise RetuneError(
            f"{path}: the key {repeated} is there twice in one object, which DeepSpeed"
            " refuses: delete one"
        ) from repeated
    if not isinstance(config, dict):
        raise RetuneError(f"{path}: no JSON object: a DeepSpeed config is {{...}}")
    return config


class RepeatedKeyError(ValueError):
    """A key that is twice in one object."""


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON.

    Raises:
        RepeatedKeyError: If a key is in it twice.
    """
    counts = Counter(key for key, _ in pairs)
    for key, count in counts.items():
        if count > 1:
            raise RepeatedKeyError(f'"{key}"')
    return dict(pairs)
