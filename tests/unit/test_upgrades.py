"""An upgrade of a tool that takes a private name away leaves the run working."""

import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from retune.errors import RetuneError
from retune_snakemake import upgrades
from retune_snakemake.snakemake_internals import SnakemakeRun
from retune_snakemake.upgrades import WRITTEN_FOR, Upgrades, explain_break

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shown():
    """The lines that were shown to the user."""
    return []


def installed(monkeypatch, release):
    """Have every tool installed in some release."""
    monkeypatch.setattr(upgrades, "version", lambda tool: release)


def test_what_works_is_returned_and_nothing_said(shown):
    assert Upgrades(shown.append).attempt("lost", ["dvc"], lambda: 3, 0) == 3
    assert shown == []


def test_a_name_that_is_gone_is_one_warning(shown, monkeypatch):
    installed(monkeypatch, "9.99")
    run = SnakemakeRun(SimpleNamespace(dag=SimpleNamespace()))
    attempt = Upgrades(shown.append).attempt
    for _ in range(2):
        lost = "not recorded with DVC"
        assert attempt(lost, ["snakemake"], run.finished_jobs, []) == []
    (line,) = shown
    assert line == (
        "not recorded with DVC: AttributeError: 'types.SimpleNamespace' object has no"
        " attribute 'finished_jobs' (snakemake 9.99 is newer than this was written for)"
    )


@pytest.mark.parametrize(
    "error", [AttributeError("x"), TypeError("x"), KeyError("x"), ImportError("x")]
)
def test_whatever_breaks_is_contained(shown, error):
    def fail():
        raise error

    assert Upgrades(shown.append).attempt("lost", ["dvc"], fail, "else") == "else"
    assert len(shown) == 1
    assert shown[0].startswith(f"lost: {type(error).__name__}: ")


@pytest.mark.parametrize("error", [RetuneError("told to the user"), SystemExit(1)])
def test_what_the_user_is_told_passes(shown, error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        Upgrades(shown.append).attempt("lost", ["dvc"], fail, None)
    assert shown == []


@pytest.mark.parametrize(
    ("release", "said"),
    [
        (WRITTEN_FOR["dvc"], f"dvc {WRITTEN_FOR['dvc']}"),
        ("3.67.10", "dvc 3.67.10 is newer than this was written for"),
        ("3.9", "dvc 3.9 is older than this was written for"),
    ],
)
def test_releases_are_compared(monkeypatch, release, said):
    installed(monkeypatch, release)
    assert explain_break(KeyError("a"), ["dvc"]) == f"KeyError: 'a' ({said})"


def test_a_tool_that_is_not_installed_is_said(monkeypatch):
    def missing(tool):
        raise metadata.PackageNotFoundError(tool)

    monkeypatch.setattr(upgrades, "version", missing)
    assert explain_break(KeyError("a"), ["dvc"]).endswith("(dvc is not installed)")


def test_the_known_releases_are_those_that_are_tested():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    assert {tool: pins[tool] for tool in WRITTEN_FOR} == WRITTEN_FOR
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["slurm"]
    requirements = {r.name: r for r in map(Requirement, wanted)}
    for tool, release in WRITTEN_FOR.items():
        assert requirements[tool].specifier.contains(release)
