"""Checks all of params.yaml at once, and tells a user what is wrong with it."""

import re
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from retune.params_file import all_problems
from retune.settings import Params, PartOfSection, Settings, problems_across


def read_params(values: dict[str, Any], name: str = "params.yaml") -> Params:
    """Return the checked settings.

    Args:
        values: What params.yaml holds.
        name: What messages call the file, or the files, where these stand.

    Raises:
        RetuneError: Naming every wrong key, its value and what would be right.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = describe_problems(error, Params)
    # A wrong key anywhere keeps pydantic from checking across sections.
    across = problems_across(right_parts(values))
    lines += [line for line in across if line not in lines]
    raise all_problems(name, lines)


def right_parts(values: dict[str, Any]) -> dict[str, Settings | PartOfSection]:
    """Return of each section what is right; a section that says nothing is left out."""
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

    Keys that are right by themselves are right, though they may not go together.

    Raises:
        ValidationError: If it is no mapping.
    """
    try:
        return model.model_validate(section)
    except ValidationError as error:
        if not isinstance(section, dict):
            raise
        wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        # What a misspelt key stands for has no value yet.
        for key in wrong - model.model_fields.keys():
            wrong = wrong | set(get_close_matches(key, model.model_fields, n=1))
        values = {
            key: TypeAdapter(field.annotation).validate_python(section[key])
            for key, field in model.model_fields.items()
            if key in section.keys() - wrong
        }
        return PartOfSection(model.model_construct(**values), wrong)


def describe_problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line per problem: the key, its value, what would be right."""
    alternatives: dict[str, list[str]] = {}
    lines = []
    for problem in error.errors():
        path = [part for part in problem["loc"] if not is_union_branch(part)]
        key = ".".join(str(part) for part in path)
        prefix = f"{key}: " if key else ""
        if path[-1:] == ["[key]"]:  # of a mapping whose keys are listed
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
        elif key in alternatives:  # the other branch of a union
            alternatives[key].append(wanted(problem).removeprefix("should be "))
        else:
            alternatives[key] = [f"{problem['input']!r} {wanted(problem)}"]
    lines += [f"{key}: {' or '.join(texts)}" for key, texts in alternatives.items()]
    return sorted(lines, key=lambda line: position(line, model))


def wanted(problem: Any) -> str:
    """Return what pydantic would have accepted, in a user's words."""
    text = problem["msg"].removeprefix("Input ").removeprefix("String ")
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


def is_union_branch(part: Any) -> bool:
    """Pydantic names the branch of a union that failed; users know only the key."""
    return part in ("int", "float", "str") or str(part).startswith(
        ("literal[", "constrained-", "list[", "dict[")
    )


def suggest(path: list[Any], model: type[BaseModel]) -> str:
    """Return `; did you mean X?` for a misspelt key, or the keys that exist there."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            return ""
        model = field.annotation
    return suggest_among(path[-1], list(model.model_fields))


def suggest_among(key: object, known: list[str]) -> str:
    """Return `; did you mean X?` if a key is like one that exists, else all these."""
    close = get_close_matches(str(key), known, n=1)
    return (
        f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}"
    )
