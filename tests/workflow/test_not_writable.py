"""A folder that cannot be written is told before any step runs."""

import os
import shlex
import subprocess
import sys

import pytest


def run(workspace, read_only, *arguments, **environment):
    """Run Snakemake with a folder that is mounted read-only, in a name space."""
    (workspace.folder / read_only).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, "train"]
    folder = shlex.quote(str(workspace.folder / read_only))
    done = subprocess.run(
        [
            *("unshare", "--mount", "--map-root-user", "sh", "-c"),
            f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
            f" || exit 77; cd {shlex.quote(str(workspace.folder))}"
            f" && exec {shlex.join(command)}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RETUNE_NO_DVC": "1", **environment},
    )
    if done.returncode == 77:
        pytest.skip(f"mounts cannot be tried here: {done.stderr}")
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if "specific profile" not in line]


@pytest.mark.parametrize("folder", ["models", "results", "state", "logs", ".snakemake"])
def test_a_read_only_folder_is_told_and_nothing_else(workspace, folder):
    code, lines = run(workspace, folder)
    assert lines == [
        f"{folder} cannot be written: the file system is mounted read-only"
    ]
    assert code == 1
    assert not (workspace.folder / "data").exists()


def test_what_dvc_goes_by_has_to_be_written_where_it_records(workspace):
    code, lines = run(workspace, "resolved", RETUNE_NO_DVC="")
    assert lines == ["resolved cannot be written: the file system is mounted read-only"]
    assert code == 1
    code, lines = run(workspace, "resolved", "--until", "download", "--")
    assert code == 0, lines


def test_a_folder_that_no_step_to_run_writes_may_be_read_only(workspace):
    code, lines = run(workspace, "models", "--until", "download", "--")
    assert code == 0, lines


def test_a_dry_run_writes_no_results(workspace):
    code, lines = run(workspace, "models", "--dry-run")
    assert code == 0, lines
