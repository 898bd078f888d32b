"""Reads a DeepSpeed config."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import hjson

from retune.errors import RetuneError
from retune.linting.finding import Finding, error, warning

# Digits of the largest number that fits a float.
DIGITS = 308
OF_PYTHON = {"True": "true", "False": "false", "None": "null"}


class UnusableInputError(RetuneError):
    """A file that is no DeepSpeed config at all, or options that contradict it."""

    exit_code = 2


class FaultyValueError(ValueError):
    """A key that is twice in one object, or a number that is too large."""


def read_config_file(
    path: Path, transformers: bool
) -> tuple[dict[str, Any], list[Finding]]:
    """Return the object in a file, and the findings in how it is written.

    DeepSpeed reads Hjson, which has comments and more; other readers do not.

    Args:
        path: The file, or "-" for stdin.
        transformers: Whether Transformers or Accelerate read it, which take JSON only.

    Raises:
        UnusableInputError: If the file cannot be read, is neither JSON nor Hjson,
            holds no object, or has a key twice in one object, which DeepSpeed refuses.
        RecursionError: If objects or lists are in each other too deep.
    """
    name = "stdin" if str(path) == "-" else str(path)
    text = read_text(path, name)
    if not text.strip("\ufeff \t\r\n"):
        raise UnusableInputError(f"{name} is empty: a DeepSpeed config is {{...}}")
    constants: list[str] = []
    try:
        config, findings = parsed(text, name, transformers, constants)
    except FaultyValueError as fault:
        raise UnusableInputError(f"{name}: {fault}") from fault
    if not isinstance(config, dict):
        raise UnusableInputError(
            f"{name} has {shown_type(config)} at the top: a DeepSpeed config is an"
            " object, {...}"
        )
    if constants and not transformers:
        happens = f"{constants[0]} is no JSON: DeepSpeed does not read it from a file"
        findings.append(error(name, happens, "write a number"))
    return config, findings


def read_text(path: Path, name: str) -> str:
    """Return the text of a file, or of stdin."""
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return content.decode()
    except OSError as problem:
        reason = problem.strerror or "cannot be read"
        raise UnusableInputError(f"{name}: {reason}") from problem
    except UnicodeDecodeError as problem:
        raise UnusableInputError(f"{name}: no text in UTF-8") from problem


def parsed(
    text: str, name: str, transformers: bool, constants: list[str]
) -> tuple[Any, list[Finding]]:
    """Return what a text holds, and the finding if it is Hjson.

    Args:
        text: The text.
        name: Name of the file.
        transformers: Whether it has to be JSON.
        constants: Takes the constants that Python adds to JSON, such as Infinity.
    """

    def constant(written: str) -> float:
        constants.append(written)
        return float(written)

    hooks: dict[str, Any] = {"object_pairs_hook": without_repeats, "parse_int": whole}
    try:
        return json.loads(text, parse_constant=constant, **hooks), []
    except json.JSONDecodeError as problem:
        reason = reason_of(text, problem)
        if transformers or is_of_python(text, problem.pos):
            raise UnusableInputError(f"{name}, {reason}") from problem
    constants.clear()
    try:
        config = hjson.loads(text, **hooks)
    except (hjson.HjsonDecodeError, OverflowError) as problem:
        raise UnusableInputError(f"{name}, {reason}") from problem
    happens = (
        "read as Hjson, as DeepSpeed does: JSON readers, such as Transformers, refuse"
        f" it ({reason})"
    )
    return config, [warning(name, happens, "write JSON")]


def reason_of(text: str, problem: json.JSONDecodeError) -> str:
    """Return where a text is no JSON and why, for people."""
    if text.startswith("\ufeff"):
        return "line 1: a byte order mark is no JSON: save it as UTF-8 without BOM"
    rest = text[problem.pos :]
    before = text[: problem.pos].rstrip()
    if rest.startswith(("//", "/*", "#")):
        what = "a comment is no JSON: delete it"
    elif is_of_python(text, problem.pos):
        word = next(word for word in OF_PYTHON if rest.startswith(word))
        what = f"{word} is Python: in JSON it is {OF_PYTHON[word]}"
    elif rest[:1] in tuple("}]") and before.endswith(",") or "trailing" in problem.msg:
        what = "a comma after the last value is no JSON: delete it"
    elif rest.startswith("'"):
        what = "JSON has double quotes only"
    else:
        what = f"no JSON: {problem.msg.removesuffix(' at')}"
    return f"line {problem.lineno}, column {problem.colno}: {what}"


def is_of_python(text: str, position: int) -> bool:
    """Return whether a word of Python is at a place where JSON takes another."""
    return text.startswith(tuple(OF_PYTHON), position)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON.

    Raises:
        FaultyValueError: If a key is in it twice.
    """
    counts = Counter(key for key, _ in pairs)
    for key, count in counts.items():
        if count > 1:
            raise FaultyValueError(
                f'the key "{key}" is there twice in one object, which DeepSpeed'
                " refuses: delete one"
            )
    return dict(pairs)


def whole(written: str) -> int:
    """Return a whole number.

    Raises:
        FaultyValueError: If no float is as large.
    """
    if len(written) > DIGITS:
        raise FaultyValueError(f"{written[:20]}... has {len(written)} digits")
    return int(written)


def shown_type(value: Any) -> str:
    """Return what JSON calls the type of a value that is no object."""
    if isinstance(value, list):
        return "a list"
    return "a text" if isinstance(value, str) else "a single value"
