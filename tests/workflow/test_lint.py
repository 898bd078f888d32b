"""Code and workflow are as the linters want them, and shells quote what they get."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from retune_workflow.manual import ROOT

BIN = Path(sys.executable).parent
RULES = [ROOT / "workflow/Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["lint-imports"],
        ["mypy"],
        ["snakefmt", "--check", "Snakefile", "workflow"],
        ["snakemake", "--lint"],
    ],
    ids=" ".join,
)
def test_linters_are_content(command):
    result = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_value_in_a_shell_command_is_quoted(path):
    unquoted = [
        value
        for value in re.findall(
            r"\{(?:input|output|params|log|config)[^}]*\}", path.read_text()
        )
        if not value.endswith(":q}")
    ]
    assert not unquoted


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_step_has_log_message_and_environment(path):
    for rule in path.read_text().split("\nrule ")[1:]:
        if "localrule: True" in rule:
            continue
        for directive in ("log:", "message:", "conda:", "shell:"):
            assert directive in rule, f"{rule.split(':')[0]} lacks {directive}"
