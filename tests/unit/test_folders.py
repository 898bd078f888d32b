"""What a run writes must be writable: told with the reason, and by its name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retune_start.folders import user, writing_problem

NOBODY = 65534
OUTPUTS = ["models/base", "metrics/data.json"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which a run has made a part of its outputs."""
    monkeypatch.chdir(tmp_path)
    for made in ("models/base", "logs", ".snakemake/locks"):
        (tmp_path / made).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def as_nobody(folder):
    """From here on the test is a user whom permissions bind, also if we are root."""
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["chown", "-R", str(NOBODY), "."], check=True)
    os.seteuid(NOBODY)
    yield
    os.seteuid(0)


def problem():
    return writing_problem(OUTPUTS, ["logs/data.log"], ["state"], [".snakemake"])


def test_what_is_there_and_what_is_not_may_be_writable(as_nobody):
    assert problem() is None


@pytest.mark.parametrize("name", ["models", "models/base", "logs", ".snakemake/locks"])
def test_a_mode_that_forbids_writing_is_told(folder, as_nobody, name):
    Path(name).chmod(0o555)
    assert problem() == (
        f"{name} cannot be written: its mode is dr-xr-xr-x; chmod u+rwX makes it"
        " writable"
    )
    Path(name).chmod(0o755)
    assert problem() is None


def test_what_other_runs_have_left_need_not_be_writable(folder, as_nobody):
    Path("state/old").mkdir(parents=True)
    Path("state/old").chmod(0o555)
    assert problem() is None
    Path("state").chmod(0o555)
    assert problem().startswith("state cannot be written: its mode is dr-xr-xr-x")
    Path("state").chmod(0o755)


def test_the_folder_of_the_run_is_called_by_its_whole_name(folder, as_nobody):
    Path().chmod(0o555)
    assert problem().startswith(f"{folder} cannot be written: ")
    Path().chmod(0o755)


def test_a_log_that_cannot_be_written_is_told_but_not_a_file_that_is_replaced(
    folder, as_nobody
):
    Path("metrics").mkdir()
    for name in ("metrics/data.json", "logs/data.log"):
        Path(name).write_text("")
        Path(name).chmod(0o444)
    assert problem().startswith("logs/data.log cannot be written: its mode is")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to others")
def test_folders_of_another_user_are_told_in_one_line(folder, as_nobody):
    os.seteuid(0)
    for name in ("models", "logs"):
        os.chown(name, 0, 0)
    os.seteuid(NOBODY)
    assert problem() == (
        "logs, models cannot be written: it belongs to root (drwxr-xr-x), and you are"
        f" {user(NOBODY)}"
    )


def test_a_link_to_nowhere_is_told(folder):
    Path("state").symlink_to("/nowhere/at/all")
    assert problem() == (
        "state cannot be written: a link to /nowhere/at/all, which is not there"
    )


def test_a_file_where_a_folder_is_needed_is_told(folder):
    Path("metrics").write_text("")
    assert problem() == "metrics cannot be written: a file, where a folder is needed"


def test_a_read_only_file_system_is_told(folder):
    look = (
        "from retune_start.folders import writing_problem;"
        "print(writing_problem(['models/base'], [], [], []))"
    )
    script = (
        "mount --bind models models && mount -o remount,bind,ro models"
        f' && {sys.executable} -c "{look}"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"mounts cannot be tried here: {done.stderr}")
    assert done.stdout == (
        "models, models/base cannot be written: the file system is mounted read-only\n"
    )
