"""Generates the JSON schema of params.yaml and the tables of its manual.

They come from the settings models and, for what reruns, from the stages of dvc.yaml.
`python -m retune_workflow manual` rewrites both; a test fails when they have drifted.
"""

import json
import re
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from retune.artifacts.publishing import write_text
from retune.settings import Params
from retune_dvc.stages import read_stages
from retune_workflow.explain_reruns import find_reruns

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/params.schema.json"
MANUAL = ROOT / "config/README.md"
STAGES = ROOT / "dvc.yaml"


def build_schema() -> dict[str, Any]:
    """Return the JSON schema of params.yaml, without references."""
    schema = Params.model_json_schema()
    definitions = schema.pop("$defs")
    sections = {
        name: inline(value, definitions) for name, value in schema["properties"].items()
    }
    source = sections["dataset"]["properties"]["sources"]
    source["additionalProperties"] = with_short_forms(
        source["additionalProperties"], "files"
    )
    sections["dataset"] = with_short_forms(sections["dataset"], "files", "sources")
    sections["model"] = with_short_name(sections["model"])
    for name in sections.keys() - set(schema["required"]):  # it may say nothing
        sections[name]["type"] = ["object", "null"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "properties": sections,
    }


def with_short_name(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a mapping that one text may stand for."""
    described = mapping.pop("description")
    return {"description": described, "anyOf": [{"type": "string"}, mapping]}


def with_short_forms(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the schema of a dataset, which a text or a list may stand for.

    Args:
        mapping: Schema of the dataset as a mapping.
        keys: Keys that say of which kind its source is, as `source` does.
    """
    schema = with_short_name(mapping)
    schema["anyOf"].append({"type": "array", "items": {"type": "string"}})
    required = (*mapping.pop("required"), *keys)
    mapping["anyOf"] = [{"required": [key]} for key in required]
    return schema


def inline(value: Any, definitions: dict[str, Any]) -> Any:
    """Return `value` with every $ref replaced: not all readers follow them."""
    if isinstance(value, list):
        return [inline(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target = definitions[value["$ref"].removeprefix("#/$defs/")]
        return inline({**target, **without(value, "$ref")}, definitions)
    return {key: inline(item, definitions) for key, item in value.items()}


def without(value: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a copy of `value` that lacks `key`."""
    return {k: v for k, v in value.items() if k != key}


def build_tables() -> str:
    """Return a heading and a table per section of params.yaml."""
    parts = []
    for name, field in Params.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        summary = " ".join((model.__doc__ or "").split())
        rows = build_rows(model)
        head = (
            "| setting | values | default | what it does |\n| --- | --- | --- | --- |"
        )
        parts.append(f"### `{name}`\n\n{summary}\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def build_rows(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return a row per setting; those of a mapping follow it as `mapping.key`."""
    rows = []
    for key, setting in model.model_fields.items():
        rows.append(
            f"| `{prefix}{key}` | {allowed_values(key, model)} |"
            f" {default_text(setting)} | {setting.description} |"
        )
        options = get_args(setting.annotation)
        # The values of a mapping by name have no rows of their own.
        for option in () if get_origin(setting.annotation) is dict else options:
            if isinstance(option, type) and issubclass(option, BaseModel):
                rows += build_rows(option, f"{prefix}{key}.")
    return rows


def default_text(setting: FieldInfo) -> str:
    """Return a setting's default as it would be written in params.yaml."""
    if setting.is_required():
        return "must be given"
    if setting.default is None:
        return "none"
    return f"`{json.dumps(setting.default)}`"


def allowed_values(key: str, model: type[BaseModel]) -> str:
    """Return what a setting may be: its type and bounds."""
    schema = model.model_json_schema()
    return values_of_schema(schema["properties"][key])


def values_of_schema(schema: dict[str, Any]) -> str:
    """Return the values that a JSON schema allows, in words."""
    if "anyOf" in schema:
        options = [values_of_schema(option) for option in schema["anyOf"]]
        return ", ".join(option for option in options if option != "null")
    if "$ref" in schema:
        return "mapping"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("pattern", "").startswith("^[0-9a-f]"):
        return "40 hex digits"
    words = {
        "integer": "integer",
        "number": "number",
        "string": "text",
        "boolean": "`true`, `false`",
        "array": "list",
        "object": "mapping",
    }
    kind = words.get(schema.get("type", ""), "null")
    signs = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "exclusiveMaximum": "<",
    }
    bounds = [f"{signs[k]} {v}" for k, v in schema.items() if k in signs]
    return " ".join([kind, ", ".join(bounds)]).strip()


def build_reruns() -> str:
    """Return the table of which settings rerun which steps."""
    rows = [
        f"| `{row.section}` | {as_code(row.settings)} | {as_code(row.steps)} |"
        for row in find_reruns(read_stages(STAGES))
    ]
    return "\n".join(["| section | settings | reruns |", "| --- | --- | --- |", *rows])


def as_code(words: tuple[str, ...]) -> str:
    """Return a list of words, each marked as code."""
    return ", ".join(f"`{word}`" for word in words) or "nothing"


def insert_tables(manual: str) -> str:
    """Return the manual with its generated parts replaced."""
    manual = insert_part(manual, "reruns", build_reruns())
    return insert_part(manual, "settings", build_tables())


def insert_part(manual: str, name: str, generated: str) -> str:
    """Return the manual with what stands between two comments replaced."""
    start, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    assert pattern.search(manual), f"{MANUAL} has lost its comments {start} and {end}"
    return pattern.sub(lambda _: f"{start}\n\n{generated}\n\n{end}", manual)


def render_schema() -> str:
    """Return the text of the schema's file."""
    return json.dumps(build_schema(), indent=2) + "\n"


def write_manual() -> None:
    """Rewrite the schema and the manual's tables."""
    write_text(SCHEMA, render_schema())
    write_text(MANUAL, insert_tables(MANUAL.read_text(encoding="utf-8")))
