"""The schema and the manual's tables say what the settings models say."""

import json

import jsonschema
import pytest
import yaml

from retune.manual import MANUAL, ROOT, SCHEMA, insert_tables, render_schema

REMEDY = "run: python -m retune.manual"


def test_the_schema_has_not_drifted():
    assert SCHEMA.read_text() == render_schema(), REMEDY


def test_the_manual_has_not_drifted():
    text = MANUAL.read_text()
    assert text == insert_tables(text), REMEDY


def test_every_setting_has_a_description():
    schema = json.loads(SCHEMA.read_text())
    for name, section in schema["properties"].items():
        section = section.get("anyOf", [None, section])[1]
        for key, setting in section["properties"].items():
            assert setting.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    "path",
    [ROOT / "params.yaml", *sorted((ROOT / "examples").glob("*.yaml"))],
    ids=lambda path: path.name,
)
def test_editors_accept_what_the_project_ships(path):
    jsonschema.validate(
        yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text())
    )
