"""Every example validates and can be planned by Snakemake."""

import shutil

import pytest
import yaml

from retune.settings import Params
from retune.settings.params import read_params
from retune.step_code import STEPS
from retune_workflow.manual import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_whole_params_file(path):
    values = yaml.safe_load(path.read_text())
    assert set(values) == set(Params.model_fields)
    read_params(values)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_planned(workspace, path):
    shutil.copy(path, workspace.folder / "params.yaml")
    assert workspace.planned() == set(STEPS)
