"""What the README tells people to type works, and what it names is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from retune.settings.params import read_params
from retune.step_code import STEPS
from retune_workflow.manual import ROOT

BIN = Path(sys.executable).parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for pattern in ("*.md", "config/*.md", "profiles/*.md", "docs/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
}


def blocks(page, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGES[page], re.DOTALL | re.M)


COMMANDS = [
    line.strip() for block in blocks("README.md", "bash") for line in block.splitlines()
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_knows_the_target(command):
    result = subprocess.run(
        [*command.split(), "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    if command == "make train":
        assert "snakemake --cores all train" in result.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("snakemake")])
def test_snakemake_plans_every_step(workspace, command):
    result = workspace.snakemake(*command.split()[1:], "--dry-run")
    assert result.returncode == 0, result.stderr
    shown = result.stdout + result.stderr
    assert all(f"\n{step} " in shown for step in STEPS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("dvc")])
def test_dvc_knows_the_command(command):
    result = subprocess.run(
        [BIN / "dvc", *command.split()[1:], "--help"], capture_output=True, check=False
    )
    assert result.returncode == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m")])
def test_our_packages_know_the_command(command):
    words = command.partition("#")[0].split()[1:]
    result = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=ROOT / "workflow",
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0


def test_no_command_is_left_unchecked():
    known = ("make", "snakemake", "dvc", "git add", "git commit", "python -m")
    assert [c for c in COMMANDS if not c.startswith(known)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_yaml_excerpt_is_valid(page):
    default = yaml.safe_load((ROOT / "params.yaml").read_text())
    for block in blocks(page, "yaml"):
        excerpt = yaml.safe_load(block)
        # Not of dvc.yaml, nor of a profile.
        if not {"stages", "default-resources"} & set(excerpt):
            read_params({**default, **excerpt})


def test_the_table_of_steps_is_that_of_the_workflow():
    rows = re.findall(r"^\| `(\w+)` \| `", PAGES["README.md"], re.M)
    assert rows == list(STEPS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target
