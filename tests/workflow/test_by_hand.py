"""The examples that the steps' help shows are what the workflow runs."""

import argparse
import re
import shlex

import pytest

from retune.cli.step_arguments import read_signature
from retune.step_code import STEPS

INSTEAD_OF_PARAMS = (
    "--settings",
    "--hardware",
    "--accelerator",
    "--ranks-per-node",
    "--nvme-path",
    "--operational",
    "--trained",
    "--precision",
)


@pytest.fixture(scope="module")
def commands(make_workspace, tmp_path_factory):
    """The command of each step, from a dry run."""
    workspace = make_workspace(tmp_path_factory.mktemp("by-hand") / "job")
    shown = workspace.snakemake("--dry-run", "--printshellcmds", "train").stderr
    found = re.findall(r"python -m retune (\w+) (.*?) 2>", shown, re.DOTALL)
    return {step: options(words) for step, words in found}


def options(words):
    """Return the options of a command with their values."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    given = shlex.split(words.replace("\\\n", ""))
    for option in {word.split("=")[0] for word in given if word.startswith("--")}:
        parser.add_argument(option, dest=option)
    return vars(parser.parse_args(given))


@pytest.mark.parametrize("step", STEPS)
def test_the_example_names_the_paths_of_the_workflow(commands, step):
    start, words = read_signature(step).example.split(" --params ")
    assert start == f"python -m retune {step}"
    by_hand = options(f"--params {words}")
    assert by_hand.pop("--params") == "params.yaml"
    by_workflow = commands[step]
    for setting in INSTEAD_OF_PARAMS:
        by_workflow.pop(setting, None)
    assert by_hand == by_workflow
