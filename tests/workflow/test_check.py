"""`python -m retune_workflow check` asks Snakemake, and starts nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import pytest

# What Snakemake and its executor call besides SLURM.
COMMANDS = "bash", "env", "git", "sh", "which"


def check(workspace, *options):
    """Run the command where there is no SLURM."""
    commands = Path(mkdtemp(dir=workspace.folder.parent))
    for name in COMMANDS:
        (commands / name).symlink_to(shutil.which(name))
    packages = [str(workspace.folder / "workflow"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "retune_workflow", "check", *options],
        cwd=workspace.folder,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{commands}",
            "PYTHONPATH": os.pathsep.join(packages),
            "RETUNE_NO_DVC": "1",
        },
    )


@pytest.fixture
def other(workspace):
    """A settings file beside params.yaml."""
    file = workspace.folder / "other.yaml"
    file.write_text(
        "dataset: wikitext\nmodel: gpt2\nhardware: {accelerator: cuda}\n"
        "evaluate: {exact_match_examples: 0}\n"
    )
    return file


def test_a_new_run_is_checked_with_its_jobs(workspace, other):
    done = check(workspace, "--params", "other.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 of 12 steps would run, by profiles/slurm" in done.stdout
    # Its jobs would ask for GPUs.
    assert "SLURM request   not checked  10 jobs; time or memory of" in done.stdout
    assert "\n\nno errors; " in done.stdout
    assert not (workspace.folder / "data").exists()


def test_what_the_workflow_refuses_is_told(workspace, other):
    other.write_text(other.read_text().replace("cuda", "auto"))
    done = check(workspace, "--params", "other.yaml")
    assert done.returncode == 1
    assert "\nworkflow        error" in done.stdout
    assert "hardware.accelerator: auto asks the machine that configure" in done.stdout


def test_wrong_settings_start_no_dry_run(workspace, other):
    other.write_text(other.read_text() + "finetune: {epoch: 1}\n")
    done = check(workspace, "--params", "other.yaml")
    assert done.returncode == 1
    assert "workflow        not checked  the settings have errors" in done.stdout
    assert "1 error:\n  finetune.epoch: unknown key" in done.stdout


def test_steps_that_would_not_run_again_are_told(finished):
    done = check(finished)
    assert "workflow        ok           0 of 12 steps would run" in done.stdout
    assert "SLURM request   ok           no job would be SLURM's" in done.stdout


def test_a_profile_that_is_not_there_is_told(workspace):
    done = check(workspace, "--workflow-profile", "nowhere")
    assert done.returncode == 1
    assert done.stderr == "error: --workflow-profile: there is no folder nowhere\n"


def test_a_profile_without_slurm_leaves_the_request_unchecked(workspace, other):
    options = "--params", "other.yaml", "--workflow-profile", "profiles/default"
    done = check(workspace, *options)
    assert "SLURM request   not checked  no job would be SLURM's" in done.stdout
