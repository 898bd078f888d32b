"""Checks all of params.yaml at once, and says what is wrong with it."""

import re
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from retune.settings import Params, PartOfSection, Settings, problems_across
from retune.settings.params_file import all_problems
from retune.settings.renamed_keys import rename_keys, renaming_problems


@dataclass(frozen=True)
class CheckedParams:
    """The settings of params.yaml as far as they are right.

    Attributes:
        params: All settings; None if a value or a key is wrong.
        sections: Each section, or what is right of it; one that is no mapping is left
            out.
        problems: What is wrong, a line each.
    """

    params: Params | None
    sections: dict[str, Settings | PartOfSection]
    problems: list[str]


def read_params(values: dict[str, Any], name: str = "params.yaml") -> Params:
    """Return the checked settings; keys may have the names they had before.

    Args:
        values: What params.yaml holds. Keys may have old names.
        name: Name for messages of the file, or files, that hold the settings.

    Raises:
        RetuneError: Naming every wrong key, its value and what would be right.
    """
    checked = check_params(values)
    if checked.params is None or checked.problems:
        raise all_problems(name, checked.problems)
    return checked.params


def check_params(values: dict[str, Any]) -> CheckedParams:
    """Return the settings as far as they are right, and what is wrong with them.

    Args:
        values: What params.yaml holds. Keys may have old names.
    """
    lines = renaming_problems(values)
    values = rename_keys(values)
    sections: dict[str, Settings | PartOfSection]
    try:
        params = Params.model_validate(values)
        sections = dict(params)
    except ValidationError as error:
        params = None
        lines += problem_lines(error, Params)
        sections = right_parts(values)
    return CheckedParams(params, sections, lines + problems_across(sections))


def right_parts(values: dict[str, Any]) -> dict[str, Settings | PartOfSection]:
    """Return what is right of each section; one that is no mapping is left out."""
    sections: dict[str, Settings | PartOfSection] = {}
    for name, field in Params.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, Settings)
        with suppress(ValidationError):
            sections[name] = right_part(model, values.get(name) or {})
    return sections


def right_part(model: type[Settings], section: Any) -> Settings | PartOfSection:
    """Return a section, or what is right of it.

    A key is right if its own value is, even if it does not go with another key.

    Raises:
        ValidationError: If it is no mapping.
    """
    try:
        return model.model_validate(section)
    except ValidationError as error:
        if not isinstance(section, dict):
            raise
        wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        # The key that a misspelt one stands for has no value yet.
        for key in wrong - model.model_fields.keys():
            wrong = wrong | set(get_close_matches(key, model.model_fields, n=1))
        values = {
            key: right_value(field, section[key])
            for key, field in model.model_fields.items()
            if key in section.keys() - wrong
        }
        return PartOfSection(model.model_construct(**values), wrong)


def right_value(field: FieldInfo, written: Any) -> Any:
    """Return the value of a key as its model would have it."""
    annotation: Any = field.annotation
    return TypeAdapter(annotation).validate_python(written)


def problem_lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line per problem: the key, its value, what would be right."""
    alternatives: dict[str, list[str]] = {}
    lines = []
    for problem in error.errors():
        path = [part for part in problem["loc"] if not is_union_branch(part)]
        key = ".".join(str(part) for part in path)
        prefix = f"{key}: " if key else ""
        if path[-1:] == ["[key]"]:  # in a mapping whose keys are a `Literal`
            known = re.findall(r"'(\w+)'", problem["ctx"]["expected"])
            name = ".".join(map(str, path[:-1]))
            lines.append(f"{name}: unknown key{suggest_among(path[-2], known)}")
        elif problem["type"] in ("extra_forbidden", "invalid_key"):
            lines.append(f"{prefix}unknown key{suggest(path, model)}")
        elif problem["type"] == "missing":
            lines.append(f"{prefix}is missing")
        elif problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
            # Problems across sections carry their own keys.
            lines += [f"{prefix}{line}" for line in text.splitlines()]
        elif key in alternatives:  # another branch of the same union
            alternatives[key].append(wanted(problem["msg"]).removeprefix("should be "))
        else:
            alternatives[key] = [f"{problem['input']!r} {wanted(problem['msg'])}"]
    lines += [f"{key}: {' or '.join(texts)}" for key, texts in alternatives.items()]
    return sorted(lines, key=lambda line: position(line, model))


def wanted(message: str) -> str:
    """Return what a message of pydantic says would be right, in words for people."""
    text = message.removeprefix("Input ").removeprefix("String ")
    text = text.split(", unable")[0]
    text = re.sub(r"valid dictionary or instance of \w+", "mapping of keys", text)
    text = re.sub(
        r"should match pattern '\^\[0-9a-f\].*", "should be 40 hex digits", text
    )
    return re.sub(r"should match pattern .*", "should be a name as on the hub", text)


def position(line: str, model: type[BaseModel]) -> int:
    """Return where a problem's section stands in params.yaml; unknown ones last."""
    names = list(model.model_fields)
    section = re.split(r"[.:]", line)[0]
    return names.index(section) if section in names else len(names)


def is_union_branch(part: str | int) -> bool:
    """Return whether a part of a location names the branch of a union that failed.

    Pydantic adds these; users know the key alone.
    """
    return part in ("int", "float", "str") or str(part).startswith(
        ("literal[", "constrained-", "list[", "dict[")
    )


def suggest(path: list[str | int], model: type[BaseModel]) -> str:
    """Return `; did you mean X?` for a misspelt key, or the keys that exist there."""
    parts = iter(path[:-1])
    for part in parts:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if get_origin(annotation) is dict:  # its keys are names that the user chose
            next(parts, None)
            annotation = get_args(annotation)[1]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        model = annotation
    return suggest_among(path[-1], list(model.model_fields))


def suggest_among(key: object, known: list[str]) -> str:
    """Return `; did you mean X?` if a known key is similar, else all known keys."""
    close = get_close_matches(str(key), known, n=1)
    return (
        f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}"
    )
