"""The list of code behind each step is what the steps really import."""

import ast
from pathlib import Path

import pytest
import yaml

import retune
from retune.manual import ROOT
from retune.steps import CODE
from retune_dvc.resolve import RESOLVED_CODE

LIBRARY = Path(retune.__file__).parent
# What only checks, shows or carries values: it cannot change a step's result.
NOT_CODE = {"params", "errors", "progress", "log_lines", "cli", "steps", "__init__"}
NOT_CODE |= {"starter", "terminal", "verifying", "training/verified_inputs"}
# What starts the ranks, watches and stops them, here or on other machines.
NOT_CODE |= {
    f"training/{module}"
    for module in (
        *("launch", "rank", "stopping", "heartbeat", "failures"),
        *("run_lock", "watched_progress"),
        *("nodes", "node", "control", "devices", "hostfile", "slurm"),
    )
}
NOT_CODE |= {f"training/{name}" for name in ("out_of_memory", "ops", "build_folders")}


# How numbers are written, which is a result where a file for people has it.
WORDS = "quantities"
WRITES_WORDS = {"configure", "report"}


def imports_of(module):
    """Return the modules of the library that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((LIBRARY / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "retune":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("retune."):
                module_path = node.module.removeprefix("retune.").replace(".", "/")
                found |= {f"{module_path}/{alias.name}" for alias in node.names}
                found.add(module_path)
    return {name for name in found if (LIBRARY / f"{name}.py").exists()}


def all_imports_of(module):
    seen, todo = set(), {module}
    while todo:
        seen |= todo
        todo = {name for one in todo for name in imports_of(one)} - seen
    return seen - NOT_CODE


@pytest.mark.parametrize("step", CODE)
def test_the_list_holds_everything_the_step_imports(step):
    modules = {entry for entry in CODE[step] if "." not in entry}
    unused = set() if step in WRITES_WORDS else {WORDS}
    assert modules == all_imports_of(step) - unused


def test_the_list_holds_every_template_of_the_report():
    folder = LIBRARY / "reporting/templates"
    there = {path.relative_to(LIBRARY).as_posix() for path in folder.iterdir()}
    assert there == {entry for entry in CODE["report"] if "." in entry}


def test_every_stage_of_dvc_depends_on_its_code():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(CODE)
    for step, stage in stages.items():
        assert {RESOLVED_CODE: [step]} in stage["params"]
