"""Where a result came from is recorded as it is, and never stops a run."""

import shutil
import subprocess

import pytest

from retune import __version__
from retune.training import provenance
from retune.training.provenance import git_state, gpus, machine, package_versions


@pytest.fixture
def git(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def run(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run([*command, *arguments], cwd=tmp_path, check=True)

    run("init", "--quiet")
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/code.py").write_text("1\n")
    (tmp_path / "metrics.json").write_text("1\n")
    return run


def commit(git):
    git("add", ".")
    git("commit", "--quiet", "--message", "x")


def test_outside_of_git_it_says_so(tmp_path):
    assert git_state(tmp_path) == "not a git repository"


@pytest.mark.usefixtures("git")
def test_before_the_first_commit_nothing_is_claimed(tmp_path):
    assert git_state(tmp_path).startswith("not known")


def test_a_clean_tree_is_its_commit(git, tmp_path):
    commit(git)
    state = git_state(tmp_path)
    assert len(state.split()[0]) == 40
    assert "as committed" in state


@pytest.mark.parametrize("name", ["workflow/code.py", "workflow/new.py", "params.yaml"])
def test_changed_or_new_sources_are_uncommitted_changes(git, tmp_path, name):
    commit(git)
    (tmp_path / name).write_text("2\n")
    assert "uncommitted changes" in git_state(tmp_path)


def test_what_a_run_itself_writes_is_no_change(git, tmp_path):
    commit(git)
    (tmp_path / "metrics.json").write_text("2\n")
    assert "as committed" in git_state(tmp_path)


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
    versions = package_versions()
    assert versions["retune"] == __version__
    assert versions["pydantic"][0].isdigit()
    assert versions["no-such-package"] == "not installed here"


def test_the_machine_has_processors_and_memory():
    here = machine()
    assert int(here["CPU"].split(" x ")[0]) >= 1
    assert int(here["memory"].removesuffix(" GB")) >= 1
