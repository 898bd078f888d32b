"""Where a result came from is recorded as it is, and never stops a run."""

import shutil
import subprocess

import pytest

from retune import __version__
from retune.measuring import provenance
from retune.measuring.provenance import (
    git_state,
    gpus,
    machine,
    package_versions,
    record_provenance,
)


@pytest.fixture
def git(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def run(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run([*command, *arguments], cwd=tmp_path, check=True)

    run("init", "--quiet")
    (tmp_path / "workflow").mkdir()
    for name in ("workflow/code.py", "params.yaml", "metrics.json"):
        (tmp_path / name).write_text("1\n")
    return run


def commit(git):
    git("add", ".")
    git("commit", "--quiet", "--message", "x")


def states(folder):
    """Return what is said of the code and of the settings, without the commit."""
    said = [git_state(folder / name) for name in ("workflow", "params.yaml")]
    return [state.split(", ")[-1] for state in said]


def test_outside_of_git_it_says_so(tmp_path):
    (tmp_path / "params.yaml").touch()
    assert git_state(tmp_path / "params.yaml") == "not in a git repository"


@pytest.mark.usefixtures("git")
def test_before_the_first_commit_nothing_is_claimed(tmp_path):
    assert git_state(tmp_path / "params.yaml").startswith("not known")


def test_a_clean_tree_is_its_commit(git, tmp_path):
    commit(git)
    assert len(git_state(tmp_path / "workflow").split(", ")[0]) == 40
    assert states(tmp_path) == ["as committed", "as committed"]


@pytest.mark.parametrize("name", ["workflow/code.py", "workflow/new.py"])
def test_changed_or_new_code_is_no_change_of_the_settings(git, tmp_path, name):
    commit(git)
    (tmp_path / name).write_text("2\n")
    assert states(tmp_path) == ["with uncommitted changes", "as committed"]


def test_changed_settings_are_no_change_of_the_code(git, tmp_path):
    commit(git)
    (tmp_path / "params.yaml").write_text("2\n")
    assert states(tmp_path) == ["as committed", "with uncommitted changes"]


def test_settings_that_were_never_committed_are_of_no_commit(git, tmp_path):
    commit(git)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/params.yaml").touch()
    assert git_state(tmp_path / "elsewhere/params.yaml") == "not in git"
    assert git_state(tmp_path / "no.yaml") == "there is none"


def test_what_a_run_itself_writes_is_no_change(git, tmp_path):
    commit(git)
    (tmp_path / "metrics.json").write_text("2\n")
    assert states(tmp_path) == ["as committed", "as committed"]


def test_code_and_settings_may_be_of_two_repositories(git, tmp_path, monkeypatch):
    commit(git)
    monkeypatch.setattr(provenance, "WORKFLOW", tmp_path / "workflow")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    git("init", "--quiet", "elsewhere")
    (folder / "params.yaml").touch()
    recorded = record_provenance(folder)
    assert recorded.workflow.endswith("as committed")
    assert recorded.params.startswith("not known")


def test_without_git_and_driver_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path).startswith("not known")
    assert gpus() == "none found"


def test_gpus_are_counted_by_name(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho A\necho A\necho B\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert gpus() == "2 x A, 1 x B"


def test_a_package_that_is_not_there_is_not_made_up(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("pydantic", "no-such-package"))
    versions = package_versions(["peft"])
    assert versions["peft"][0].isdigit()
    assert versions["retune"] == __version__
    assert versions["pydantic"][0].isdigit()
    assert versions["no-such-package"] == "not installed here"


def test_the_machine_has_processors_and_memory():
    here = machine()
    assert int(here["CPU"].split(" x ")[0]) >= 1
    assert int(here["memory"].removesuffix(" GB")) >= 1
