"""The cluster's profile where there is no SLURM: told before any step runs."""

from pathlib import Path

import pytest

COMMANDS = "sbatch", "squeue"


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The only folder of commands: all that are installed, but those of SLURM."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in sorted(Path("/usr/bin").iterdir()):
        if command.name not in COMMANDS:
            (folder / command.name).symlink_to(command)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def run(workspace, *arguments):
    """Return the exit code and what was shown, but for the profile that is read."""
    profile = "--workflow-profile", "profiles/slurm"
    result = workspace.snakemake(*profile, *arguments, "train")
    lines = (result.stdout + result.stderr).splitlines()
    assert not (workspace.folder / "data").exists()
    assert not list((workspace.folder / ".snakemake").glob("locks/*"))
    return result.returncode, [line for line in lines if "specific profile" not in line]


def test_a_machine_without_sbatch_is_told(workspace, path):
    assert run(workspace) == (
        1,
        [
            "no SLURM here: sbatch not found; run this on a login node of the cluster,"
            " or leave out --workflow-profile to run on this machine"
        ],
    )


def test_a_slurm_that_does_not_answer_is_told_in_its_last_words(workspace, path):
    for name in COMMANDS:
        (path / name).write_text("#!/bin/sh\necho many >&2\necho no host >&2\nexit 1\n")
        (path / name).chmod(0o755)
    code, lines = run(workspace)
    assert code == 1
    assert lines[-1].startswith("SLURM does not answer here (no host); run this on a ")


def test_a_dry_run_needs_no_slurm(workspace, path):
    code, lines = run(workspace, "--dry-run")
    assert code == 0
    assert not any("SLURM" in line for line in lines)
