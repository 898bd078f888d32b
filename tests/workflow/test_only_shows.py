"""A command that only shows something leaves every file as it is.

It shows what DVC knows all the same: what is as in dvc.lock need not run.
"""

import shutil
import subprocess
import sys

import pytest
import yaml

from planned_steps import read_reasons
from retune_dvc.file_times import set_time
from retune_dvc.stages import read_stages
from retune_workflow.manual import ROOT
from versioned_run import VersionedRun

STAGES = read_stages(ROOT / "dvc.yaml")
# What Snakemake and DVC write themselves, whatever the rules do: locks, logs, a list of
# files that Snakemake found. Snakemake's own records of outputs are not among it.
THEIRS = {
    *(".snakemake/log", ".snakemake/locks", ".snakemake/iocache", ".dvc/tmp"),
    *(".snakemake/auxiliary", "__pycache__"),
}


@pytest.fixture(scope="module")
def pulled(make_workspace, tmp_path_factory):
    """A clone after `dvc pull`: all is as in dvc.lock, and Snakemake knows nothing."""
    base = tmp_path_factory.mktemp("pulled")
    workspace = make_workspace(base / "job")
    workspace.looks_finished()
    for path in (workspace.folder / out for s in STAGES.values() for out in s.outs):
        if path.is_dir():
            (path / "file").write_text("made up")
    run = VersionedRun(workspace.folder, base / "calls")
    run.git("init", "--quiet")
    run(
        sys.executable, "-m", "retune_dvc", "resolve", PYTHONPATH=str(ROOT / "workflow")
    )
    run("dvc", "commit", "--quiet", "--force", *STAGES, "resolved/dvc.yaml")
    run.commit("a run")
    shutil.rmtree(run.folder / ".snakemake")
    for path in run.folder.rglob(".snakemake_timestamp"):
        path.unlink()
    # Inputs are newer than what was made of them.
    for age, stage in enumerate(STAGES.values()):
        for out in stage.outs:
            set_time(str(run.folder / out), 1_700_000_000_000_000_000 - age * 10**9)
    for path in run.folder.rglob(".snakemake_timestamp"):
        path.unlink()
    show(run, "--dry-run", "train")  # makes the folders that Snakemake always makes
    return run


def show(run, *arguments):
    """Run Snakemake; return what it shows."""
    return run(
        *(sys.executable, "-B", "-m", "snakemake", *arguments),
        PYTHONDONTWRITEBYTECODE="1",
    )


def snapshot(folder):
    """Return mode, inode, time and content of all files, and times of all folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(part in f"/{name}/" for part in (f"/{their}/" for their in THEIRS)):
            continue
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        times = status.st_mtime_ns if name not in (".snakemake", ".dvc") else 0
        found[name] = status.st_mode, status.st_ino, times, content
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        *(["-n", "train"], ["--lint"], ["--list"], ["train", "--dag"]),
        *(["--summary", "train"], ["train", "--rulegraph"]),
    ],
    ids=" ".join,
)
def test_no_file_is_touched(pulled, arguments):
    before = snapshot(pulled.folder)
    shown = show(pulled, *arguments)
    after = snapshot(pulled.folder)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []
    assert "not recorded with DVC" not in shown
    assert "not compared with DVC" not in shown
    if arguments[0] == "-n":
        assert "Nothing to be done" in shown
    if arguments[0] == "--summary":
        rows = [line.split("\t") for line in shown.splitlines() if "\t" in line]
        plan = rows[0].index("plan")
        assert {row[plan] for row in rows[1:]} == {"no update"}


def test_what_was_changed_by_hand_is_planned_and_no_file_touched(pulled, tmp_path):
    subprocess.run(["cp", "-a", pulled.folder, tmp_path / "job"], check=True)
    run = VersionedRun(tmp_path / "job", tmp_path / "calls")
    data = run.folder / "metrics/data.json"
    data.unlink()
    data.write_text("changed")
    before = snapshot(run.folder)
    reasons = read_reasons(show(run, "-n", "train"))
    assert snapshot(run.folder) == before
    assert set(reasons) == {
        *("prepare", "tokenize", "configure", "finetune", "consolidate", "baseline"),
        *("evaluate", "sample", "report", "publish"),
    }


def test_a_changed_setting_is_planned_from_what_dvc_recorded(pulled, tmp_path):
    subprocess.run(["cp", "-a", pulled.folder, tmp_path / "job"], check=True)
    run = VersionedRun(tmp_path / "job", tmp_path / "calls")
    params = yaml.safe_load((run.folder / "params.yaml").read_text())
    params["finetune"]["learning_rate"] = 0.0003
    (run.folder / "params.yaml").write_text(yaml.safe_dump(params))
    before = snapshot(run.folder)
    reasons = read_reasons(show(run, "-n", "train"))
    assert snapshot(run.folder) == before
    assert reasons["finetune"] == "finetune.learning_rate: auto -> 0.0003"
    assert set(reasons) == {
        *("finetune", "consolidate", "evaluate", "sample", "report", "publish")
    }
