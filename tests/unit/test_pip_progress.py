"""What the set-up shows while pip works."""

import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from retune_workflow.manual import ROOT

SCRIPT = ROOT / "envs/pip_progress.py"


@pytest.fixture
def progress(tmp_path, monkeypatch):
    """The progress of a pip that is to install three packages into .venv."""
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("pip_progress", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    install(tmp_path, "pip")
    return module.Progress(3)


def install(folder, name):
    site = folder / ".venv/lib/python3.11/site-packages"
    (site / f"{name}-1.dist-info").mkdir(parents=True)


def test_packages_are_counted_once_with_what_is_downloaded(progress):
    assert str(progress) == "0 of 3 packages found"
    progress.read("Collecting torch==2.13.0 (from -r requirements.txt (line 184))")
    progress.read("  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (190.3 MB)")
    assert str(progress) == (
        "1 of 3 packages found, downloading torch-2.13.0-cp311-cp311-linux_x86_64"
        " (190.3 MB)"
    )
    progress.read("Collecting sympy>=1.13 (from torch==2.13.0)")
    for user in ("torch", "jinja2"):
        progress.read(
            f"Requirement already satisfied: MarkupSafe>=2 in x (from {user})"
        )
    assert str(progress) == "3 of 3 packages found"


def test_more_packages_than_were_expected_are_no_error(progress):
    for name in "abcd":
        progress.read(f"Collecting {name}")
    assert str(progress) == "4 of 4 packages found"


def test_installed_packages_are_counted_as_they_appear(progress, tmp_path):
    progress.read("Installing collected packages: mpmath, sympy, torch")
    assert str(progress) == "0 of 3 installed"
    install(tmp_path, "mpmath")
    assert str(progress) == "1 of 3 installed"


def test_a_terminal_shows_one_line_that_ends_with_the_time(tmp_path):
    ours, its = pty.openpty()
    done = subprocess.run(
        [sys.executable, SCRIPT, "1/3 torch", "3"],
        input=b"Collecting torch\n",
        stdout=its,
        cwd=tmp_path,
        check=False,
    )
    os.close(its)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert done.returncode == 0
    assert shown.startswith("  1/3 torch")
    assert re.search(r"\r\x1b\[2K  1/3 torch: 0:0\d\r\n$", shown)


def test_a_failed_pip_fails_the_set_up(tmp_path):
    """The pipe must not hide it."""
    makefile = (ROOT / "Makefile").read_text()
    (tmp_path / "Makefile").write_text(f"{makefile}\nfails:\n\t@false | cat\n")
    done = subprocess.run(["make", "fails"], cwd=tmp_path, capture_output=True)
    assert done.returncode != 0


def test_ctrl_c_is_left_to_pip(tmp_path):
    script = subprocess.Popen(
        [sys.executable, SCRIPT, "1/3 torch", "3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    script.stdin.write(b"Collecting torch\n")
    script.stdin.flush()
    assert script.stdout.readline()  # it shows how far pip is
    script.send_signal(signal.SIGINT)
    _, errors = script.communicate()
    assert script.returncode == 0
    assert errors == b""
