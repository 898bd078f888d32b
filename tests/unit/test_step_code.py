"""What a step's result depends on: the code that runs, and no word about it."""

import ast
import shutil

import pytest
import yaml

from retune import step_code
from retune.step_code import (
    LIBRARY,
    STEPS,
    WITHOUT_EFFECT,
    code_files,
    has_no_effect,
    hash_code,
    read_module,
)
from retune_dvc.resolve import RESOLVED_CODE
from retune_workflow.manual import ROOT

WITH_DOCSTRING = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
MODULES = [path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py"]


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the library that may be changed."""
    copy = tmp_path / "retune"
    shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(step_code, "LIBRARY", copy)
    return copy


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def changed_steps(library, path, old, new):
    """Return the steps whose code is another one after a change."""
    before = {step: hash_code(step) for step in STEPS}
    change(library / path, old, new)
    return {step for step in STEPS if hash_code(step) != before[step]}


def test_a_step_depends_on_what_it_imports_directly_or_not():
    assert "tokens/blocks.py" in code_files("finetune")
    assert "evaluation/bootstrap.py" in code_files("evaluate")
    assert "evaluation/bootstrap.py" not in code_files("baseline")
    for step in STEPS:
        assert f"steps/{step}.py" in code_files(step)
        assert not set(code_files(step)) & {f"{name}.py" for name in WITHOUT_EFFECT}


def test_modules_behind_one_without_effect_count():
    # The launcher alone names the module of a rank, and that the loop.
    assert "training/loop.py" in code_files("finetune")
    # Those that only say what would fit after memory has run out.
    assert "planning/memory_prediction.py" not in code_files("finetune")
    assert not any(file.startswith("launching/") for file in code_files("finetune"))


def test_a_template_is_code_of_the_step_that_shows_it():
    folder = LIBRARY / "reporting/templates"
    templates = {path.relative_to(LIBRARY).as_posix() for path in folder.iterdir()}
    card = {"reporting/templates/model_card.md.j2"}
    assert templates & set(code_files("report")) == templates - card
    assert templates & set(code_files("publish")) == card


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_is_without_effect_is_there(name):
    assert (LIBRARY / name).is_dir() or (LIBRARY / f"{name}.py").is_file()


def test_a_name_that_begins_alike_is_another_one():
    assert has_no_effect("training/rank")
    assert has_no_effect("cli/main")
    assert not has_no_effect("training/ranking")


def test_every_stage_of_dvc_depends_on_its_code():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(STEPS)
    for step, stage in stages.items():
        assert {RESOLVED_CODE: [step]} in stage["params"]


def test_a_changed_line_changes_the_steps_that_run_it(library):
    steps = changed_steps(library, "evaluation/bootstrap.py", " = ", "  = ")
    assert steps == {"evaluate"}


def test_a_module_that_a_step_comes_to_import_counts(library):
    line = "import logging\n"
    steps = changed_steps(
        library,
        "steps/prepare.py",
        line,
        f"{line}from retune.evaluation import bootstrap\n",
    )
    assert steps == {"prepare"}
    assert "evaluation/bootstrap.py" in code_files("prepare")


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("steps/finetune.py", '"""The step', '"""The very step'),
        ("measuring/stopwatch.py", "class Moment", "# A comment.\n\n\nclass Moment"),
        ("cli/main.py", "import argparse", "import argparse as argparse"),
        ("supervision/stopping.py", "import", "import sys\nimport"),
    ],
)
def test_what_cannot_change_a_result_changes_no_hash(library, path, old, new):
    assert changed_steps(library, path, old, new) == set()


def test_a_changed_template_counts(library):
    steps = changed_steps(library, "reporting/templates/page.css", "{", " {")
    assert steps == {"report"}


def text_of(source):
    return read_module(source.encode()).hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1\n", "x = 1  # one\n"),
        ("x = 1\n", "# one\n\nx = 1\n\n"),
        ("x = 1\n", '"""A docstring\nof two # lines."""\n\nx = 1\n'),
        ('def f():\n    """A."""\n    x = 1\n', "def f():\n    x = 1\n"),
        ('class A:\n    """A."""\n    x = 1\n', 'class A:\n    """B."""\n    x = 1\n'),
        ('class A:  # A.\n\n    """A."""\n    x = 1\n', "class A:\n    x = 1\n"),
        (
            'def f():\n    r"""\\A"quoted"."""  # A.\n    x = 1\n',
            "def f():\n    x = 1\n",
        ),
        ("def f():\n    # one\n\n    x = 1\n", "def f():\n    x = 1\n"),
        ("x = 1 # one", "x = 1\n"),
        ('x = "é#"  # é\n', 'x = "é#"\n'),
    ],
)
def test_comments_and_docstrings_do_not_count(one, other):
    assert text_of(one) == text_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = '# 1'\n", "x = '# 2'\n"),
        ('x = """\n# 1\n"""\n', 'x = """\n# 2\n"""\n'),
        ("x = f'{y}# 1'\n", "x = f'{y}# 2'\n"),
        ("x = f'{y}#'  # 1\n", "x = f'{z}#'  # 1\n"),
        ("x = b'#1'\n", "x = b'#2'\n"),
        ("x = '\\'# 1'\n", "x = '\\'# 2'\n"),
        ('x = "a"  # "\ny = 1\n', 'x = "a"  # "\ny = 2\n'),
        ('x = """1"""\n', 'x = """2"""\n'),
        ('f("""1""")\n', 'f("""2""")\n'),
        ('x = "a:\\\n    "\ny = """1"""\n', 'x = "a:\\\n    "\ny = """2"""\n'),
        ('x = """1\n\n2"""\n', 'x = """1\n2"""\n'),
        ('x = """1 \n2"""\n', 'x = """1\n2"""\n'),
        ("if a:\n    x = 1\n", "if a:\n    x = 1\nx = 1\n"),
    ],
)
def test_what_runs_counts(one, other):
    assert text_of(one) != text_of(other)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_what_is_left_of_a_module_is_all_that_runs(path):
    source = path.read_bytes()
    left = step_code.without_comments(source).decode()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            del node.body[0]
    # A body that was only a docstring has nothing left that could be read.
    if all(getattr(node, "body", True) for node in ast.walk(tree)):
        assert ast.dump(ast.parse(left)) == ast.dump(tree)
    assert "    # " not in left


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_what_a_module_imports_of_the_library_is_found(path):
    tree = ast.parse(path.read_bytes())
    unused = {
        inner
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for inner in ast.walk(block)
    }
    found = {
        path
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node not in unused
        for path in (node.module, *(f"{node.module}.{a.name}" for a in node.names))
        if path.startswith("retune.")
    }
    imports = {path.removeprefix("retune.").replace(".", "/") for path in found}
    assert read_module(path.read_bytes()).imports == imports
