"""What DVC runs for a stage means the same in each shell that a user may have.

DVC passes a stage's command to the shell that SHELL names.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from retune.step_code import STEPS
from retune_dvc.init import adapt
from retune_dvc.resolve import DVC_DOLLAR, resolve_stage
from retune_workflow.manual import ROOT

SHELLS = [
    shell
    for shell in ("sh", "bash", "dash", "zsh", "fish", "tcsh")
    if shutil.which(shell)
]
# Says what it is called with, in the place of a program.
PROBE = """#!{python}
import json, os, sys
print(json.dumps([os.getpid(), os.environ.get("PYTHONPATH"), sys.argv[1:]]))
"""
OPTIONS = ["--cores", "all", "--nolock", "--force", "--allowed-rules"]


@pytest.fixture(params=SHELLS)
def run(request, tmp_path, monkeypatch):
    """Return a function that runs a command as DVC does: what the program is given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("snakemake", "python"):
        (programs / name).write_text(PROBE.format(python=sys.executable))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("RETUNE_PROFILE", raising=False)

    def run_it(command):
        command = command.replace(DVC_DOLLAR, "${")
        with subprocess.Popen(
            [shutil.which(request.param), "-c", command],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            shown = process.communicate()[0]
        assert process.returncode == 0
        pid, path, words = json.loads(shown)
        return pid == process.pid, path, words

    return run_it


def commands(text):
    """Return the command of each stage of a dvc.yaml."""
    return {
        step: stage["cmd"] for step, stage in yaml.safe_load(text)["stages"].items()
    }


def test_a_stage_becomes_snakemake_and_runs_its_rule(run):
    found = commands((ROOT / "dvc.yaml").read_text())
    assert list(found) == list(STEPS)
    for step, command in found.items():
        is_child_of_dvc, _, words = run(command)
        assert is_child_of_dvc, "it would not notice that DVC was killed"
        assert words == [*OPTIONS, step, "--", step]


def test_another_profile_is_passed_on(run, monkeypatch):
    monkeypatch.setenv("RETUNE_PROFILE", "my profiles/slurm")
    command = commands((ROOT / "dvc.yaml").read_text())["finetune"]
    profile = ["--workflow-profile", "my profiles/slurm"]
    assert run(command)[2] == [*profile, *OPTIONS, "finetune", "--", "finetune"]


@pytest.mark.parametrize("name", ["Snakefile", "my $HOME's {x} ${y}/Snakefile"])
def test_another_snakefile_and_other_rules_are_passed_on(run, name, tmp_path):
    snakefile = str(tmp_path / name)
    text = adapt((ROOT / "dvc.yaml").read_text(), snakefile, "a_*")
    rule = ["a_fetch", "--", "a_fetch"]
    words = run(commands(text)["fetch"])[2]
    assert words == ["--snakefile", snakefile, *OPTIONS, *rule]


def test_resolve_finds_the_library(run, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", "mine")
    _, path, words = run(resolve_stage({})["cmd"])
    assert path == "workflow:mine"
    assert words == ["-m", "retune_dvc", "resolve"]
