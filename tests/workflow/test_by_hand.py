"""The examples that the steps' help shows are what the workflow runs."""

import re
import shlex

import pytest

from retune.cli.step_arguments import read_signature
from retune.step_code import STEPS


@pytest.fixture(scope="module")
def commands(make_workspace, tmp_path_factory):
    """The command of each step, from a dry run."""
    workspace = make_workspace(tmp_path_factory.mktemp("by-hand") / "job")
    shown = workspace.snakemake("--dry-run", "--printshellcmds", "train").stderr
    found = re.findall(r"python -m retune (\w+) (.*?) 2>", shown, re.DOTALL)
    return {step: options(words) for step, words in found}


def options(words):
    """Return the options of a command with their values."""
    given = shlex.split(words.replace("\\\n", ""))
    return dict(zip(given[::2], given[1::2], strict=True))


@pytest.mark.parametrize("step", STEPS)
def test_the_example_names_the_paths_of_the_workflow(commands, step):
    start, words = read_signature(step).example.split(" --params ")
    assert start == f"python -m retune {step}"
    by_hand = options(f"--params {words}")
    assert by_hand.pop("--params") == "params.yaml"
    by_workflow = commands[step]
    for settings in ("--settings", "--hardware", "--accelerator", "--operational"):
        by_workflow.pop(settings, None)
    assert by_hand == by_workflow
