"""The private names of DVC are there and do what is expected of them.

What broke when one of these fails after an upgrade: retune_dvc/dvc_internals.py says it
of each function.
"""

import subprocess
import sys

import pytest
import yaml

from retune_dvc import dvc_internals
from retune_dvc.commands import call_dvc
from retune_dvc.dvc_files import read_lock
from retune_dvc.errors import UnknownStateError

COPY = "cp text.txt copy.txt"
STAGE = {"cmd": COPY, "deps": ["text.txt"], "outs": ["copy.txt"]}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder of DVC's with one recorded stage, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    call_dvc("init", "--no-scm", "--quiet")
    stages = {"copy": STAGE}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    make(tmp_path, "one")
    call_dvc("commit", "--force", "copy")
    return tmp_path


def make(folder, text):
    """Run the stage's command without DVC."""
    (folder / "copy.txt").unlink(missing_ok=True)
    (folder / "text.txt").write_text(text)
    (folder / "copy.txt").write_text(text)


def test_an_earlier_result_is_brought_back(repository):
    make(repository, "two")
    call_dvc("commit", "--force", "copy")
    (repository / "text.txt").write_text("one")
    assert dvc_internals.would_restore("copy")
    reads, writes = {"copy": ["text.txt"]}, {"copy": ["copy.txt"]}
    found = dvc_internals.restore_from_run_cache(["copy"], reads, writes)
    assert found == {"copy": True}
    assert (repository / "copy.txt").read_text() == "one"
    (repository / "text.txt").write_text("never seen")
    assert not dvc_internals.would_restore("copy")
    assert dvc_internals.restore_from_run_cache(["copy"], reads, writes) == {}


def test_what_dvc_ran_is_saved_for_later(repository):
    for run in (repository / ".dvc/cache/runs").rglob("*"):
        if run.is_file():
            run.unlink()
    dvc_internals.save_to_run_cache(["copy", "no such stage"])
    assert any(p.is_file() for p in (repository / ".dvc/cache/runs").rglob("*"))


def test_a_damaged_object_is_dropped_where_the_file_is_good(repository):
    md5 = read_lock()["copy"].outs["copy.txt"]
    cached = repository / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    assert cached.exists()
    dvc_internals.drop_damaged_objects("copy")
    assert cached.exists()
    cached.chmod(0o644)
    cached.write_text("0ne")
    dvc_internals.drop_damaged_objects("copy")
    assert not cached.exists()


def test_dvc_is_kept_away_and_let_in_again(repository):
    (repository / "text.txt").write_text("two")
    with dvc_internals.lock_paths(["copy.txt"], to_write=True):
        with pytest.raises(UnknownStateError, match=r"busy.*\(PID \d+\): snakemake"):
            call_dvc("repro", "copy")
        assert (repository / "copy.txt").read_text() == "one"
    call_dvc("repro", "copy")
    assert (repository / "copy.txt").read_text() == "two"


def test_who_is_at_work_is_named(repository):
    code = (
        "import os, sys\n"
        "from retune_dvc.dvc_internals import lock_paths\n"
        "with lock_paths(['copy.txt'], True):\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(UnknownStateError, match=r"at work on copy.txt: \(PID"),
            dvc_internals.lock_paths(["copy.txt"], to_write=True),
        ):
            pass
        other.stdin.close()


def test_commands_are_loaded_and_run(repository):
    before = read_lock()["copy"]
    make(repository, "two")
    dvc_internals.load_commands()
    assert dvc_internals.run_command(["commit", "--force", "copy"]) == 0
    assert read_lock()["copy"] != before
