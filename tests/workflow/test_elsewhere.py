"""A run is a folder with a params.yaml, wherever that and the workflow are."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from retune.step_code import STEPS
from versioned_run import SMALL, VersionedRun, write_texts
from workflow_copy import copy_workflow

NO_DVC = "there is no .dvc folder here"
ALWAYS = ["always", "changed"]
AS_MODULE = """
configfile: "params.yaml"

module retune:
    snakefile: {snakefile!r}
    config: config

use rule * from retune as tune_*

rule summary:
    input:
        "metrics/evaluation.json",
    output:
        "summary.json",
    default_target: True
    shell:
        "cp {{input:q}} {{output:q}}"
"""
NAMED = """
rule first:
    output:
        "first.txt",
    shell:
        "touch {{output:q}}"

module retune:
    snakefile: {snakefile!r}

use rule * from retune
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout that many share: nobody may write there."""
    folder = copy_workflow(tmp_path_factory.mktemp("shared") / "retune of all")
    before = listing(folder)
    writable(folder, False)
    yield folder
    writable(folder, True)
    assert listing(folder) == before


def listing(folder):
    """Return what is in a checkout; Python's own cache is nobody's file."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    )


def writable(folder, yes):
    """Let the owner write into a folder, or nobody."""
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IWUSR if yes else mode & ~stat.S_IWUSR)


@pytest.fixture
def run(tmp_path) -> VersionedRun:
    """A folder with a params.yaml and a file of texts, and nothing else."""
    folder = tmp_path / "my run"
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(SMALL))
    write_texts(folder / "texts.jsonl")
    return VersionedRun(folder, tmp_path / "calls")


def finished(folder):
    """Return whether the main job has ended there."""
    return (folder / "models/tuned/model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_folder_elsewhere_runs_to_the_end_by_either_option(run, checkout):
    by_directory = subprocess.run(
        ["snakemake", "--directory", str(run.folder), "--cores", "1", "train"],
        cwd=checkout,
        env=run.environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert finished(run.folder)
    assert by_directory.stderr.count(NO_DVC) == 1
    again = run("snakemake", "--snakefile", str(checkout / "Snakefile"), "--cores", "1")
    assert "Nothing to be done" in again


@pytest.mark.slow
@pytest.mark.long
def test_with_dvc_a_folder_elsewhere_is_versioned(run, checkout, tmp_path):
    command = ["snakemake", "--snakefile", str(checkout / "Snakefile"), "--cores", "1"]
    run.git("init", "--quiet")
    run("dvc", "init", "--quiet")
    shown = run(*command, "download")
    (line,) = [li for li in shown.splitlines() if li.startswith("not recorded")]
    advice = line.split("`")[1]
    assert advice.startswith("python -m retune_dvc init --snakefile ")
    run("sh", "-c", advice)
    assert "Running stage 'download'" in run.copy(tmp_path / "other")(
        "dvc", "repro", "download"
    )
    assert "recorded with DVC, from an earlier run: download" in run(*command)
    assert set(run.lock()) == set(STEPS)
    run.commit("first run")
    # Code that is elsewhere is looked at each time.
    assert run("dvc", "status").split() == ["resolved/dvc.yaml:resolve:", *ALWAYS]
    run.change("report", peak_tflops=3)
    run("dvc", "repro")
    assert "Nothing to be done" in run(*command)
    run(
        "dvc",
        "exp",
        "run",
        "--temp",
        "--name",
        "more",
        "-S",
        "report.peak_tflops=4",
    )
    assert "more" in run("dvc", "exp", "list", "--names-only").split()


@pytest.mark.slow
@pytest.mark.long
def test_a_module_under_other_names_runs_to_the_end_and_is_versioned(run, checkout):
    snakefile = str(checkout / "workflow/Snakefile")
    (run.folder / "Snakefile").write_text(AS_MODULE.format(snakefile=snakefile))
    run.git("init", "--quiet")
    run("dvc", "init", "--quiet")
    shown = run("snakemake", "--cores", "1", "tune_download")
    (line,) = [li for li in shown.splitlines() if li.startswith("not recorded")]
    run("sh", "-c", line.split("`")[1])
    run("snakemake", "--cores", "1")
    assert (run.folder / "summary.json").exists()
    assert not finished(run.folder)
    assert set(run.lock()) == set(STEPS) - {"sample", "report", "publish"}
    run("snakemake", "--cores", "1", "tune_train")
    assert finished(run.folder)
    assert set(run.lock()) == set(STEPS)
    run.change("report", peak_tflops=3)
    assert "Running stage 'report'" in run("dvc", "repro")
    assert "Nothing to be done" in run("snakemake", "--cores", "1", "tune_train")
    run.change("report", peak_tflops="auto")
    shown = run("snakemake", "--cores", "1", "tune_train")
    assert "brought back from DVC's cache instead of run: report" in shown


def test_a_module_leaves_the_default_target_to_the_workflow_that_uses_it(run, checkout):
    snakefile = str(checkout / "workflow/Snakefile")
    (run.folder / "Snakefile").write_text(NAMED.format(snakefile=snakefile))
    run("snakemake", "--cores", "1")
    assert (run.folder / "first.txt").exists()
    assert not (run.folder / "data").exists()


def test_two_folders_of_one_checkout_are_two_runs(run, checkout, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    command = ["snakemake", "--snakefile", str(checkout / "Snakefile"), "--cores", "1"]
    processes = [
        subprocess.Popen(
            [*command, "prepare"],
            cwd=folder,
            env=run.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder in (run.folder, other)
    ]
    for process in processes:
        shown = process.communicate()[0]
        assert process.returncode == 0, shown
    for folder in (run.folder, other):
        assert (folder / "data/clean").is_dir()
