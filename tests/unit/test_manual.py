"""The schema and the manual's tables say what the settings models say."""

import json
from contextlib import nullcontext

import jsonschema
import pytest
import yaml

from retune.errors import RetuneError
from retune.settings import Params
from retune.settings.params import read_params
from retune_workflow.manual import MANUAL, ROOT, SCHEMA, insert_tables, render_schema

REMEDY = "run: python -m retune_workflow manual"


def test_the_schema_has_not_drifted():
    assert SCHEMA.read_text() == render_schema(), REMEDY


def test_the_manual_has_not_drifted():
    text = MANUAL.read_text()
    assert text == insert_tables(text), REMEDY


@pytest.mark.parametrize("name", ["reruns", "settings"])
def test_a_change_of_a_generated_table_is_drift(name):
    text = MANUAL.read_text()
    mark = f"<!-- {name}: generated -->"
    assert insert_tables(text.replace(mark, f"{mark}\n\nby hand")) == text


def test_the_table_of_reruns_holds_every_setting():
    table = MANUAL.read_text().split("<!-- reruns: end -->")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    listed = [
        f"{section.strip('| `')}.{key.strip('`')}"
        for section, keys, _ in rows
        for key in keys.split(", ")
    ]
    assert listed == [
        f"{section}.{key}"
        for section, field in Params.model_fields.items()
        for key in field.annotation.model_fields
    ]


def test_every_setting_has_a_description():
    schema = json.loads(SCHEMA.read_text())
    for name, section in schema["properties"].items():
        section = section.get("anyOf", [None, section])[1]
        for key, setting in section["properties"].items():
            assert setting.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    ("short", "is_right"),
    [
        ({"dataset": ["a.txt", "b/"]}, True),
        ({"dataset": {"files": "x/"}}, True),
        ({"dataset": {"text_column": "x"}}, False),
        ({"sample": {"prompts": "Red"}}, True),
        ({"sample": {"prompts": 5}}, False),
        ({"finetune": None}, True),
        ({"dataset": None}, False),
    ],
)
def test_editors_accept_what_is_written_in_short_and_the_run_does(short, is_right):
    values = {"dataset": "builtin", "model": "builtin", **short}
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert schema.is_valid(values) == is_right
    with nullcontext() if is_right else pytest.raises(RetuneError):
        read_params(values)


@pytest.mark.parametrize(
    "path",
    [ROOT / "params.yaml", *sorted((ROOT / "examples").glob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_editors_accept_what_the_project_ships(path):
    jsonschema.validate(
        yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text())
    )
