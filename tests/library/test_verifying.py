"""One flipped bit in any file that travels between two steps stops the next step."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from flipped_bit import flip_a_bit
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError
from retune_dvc.stages import read_stages
from retune_workflow.manual import ROOT
from whole_run import RUN, make_whole_run, run_step

STAGES = read_stages(ROOT / "dvc.yaml")
WRITER = {out: name for name, stage in STAGES.items() for out in stage.outs}
TRAVELS = [(step, path) for step in RUN for path in STAGES[step].deps if path in WRITER]
WEIGHTS = "models/base/*.safetensors"
# What is in two folders beside the manifest.
MANIFESTS = ["data/raw/*.parquet", "models/base/[!m]*", "models/base/model*"]
# Of the folders that a step reads, the files that it does not read.
NOT_READ = {
    "tokenize": [WEIGHTS],
    "configure": [WEIGHTS],
    "finetune": ["data/tokens/test.*"],
    # Each tensor of the base model has a hash of its own, with adapters.
    "consolidate": [WEIGHTS],
    "baseline": ["data/clean/train.*", "data/clean/rejected.*"],
    "sample": ["data/clean/train.*", "data/clean/rejected.*"],
    "evaluate": [
        WEIGHTS,
        *("data/clean/train.*", "data/clean/rejected.*"),
        "data/tokens/train.*.bin",
    ],
    "report": [*MANIFESTS, "data/tokens/*.bin", "data/tokens/*.npy"],
    "publish": MANIFESTS,
}
READ_BY_NOBODY = {
    "models/tuned",
    "report",
    "report.html",
    "plan/plan.md",
    "plan/memory.svg",
}
# A checkpoint's moments are read by a training that goes on, not here.
MAY_DO_NO_HARM = "results/finetune/checkpoint/*"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("whole")
    make_whole_run(folder)
    return folder


def files_read(whole: Path, step: str, path: str) -> list[Path]:
    """Return the files of an output that a step reads."""
    found = sorted((whole / path).rglob("*")) or [whole / path]
    return [
        file
        for file in found
        if file.is_file()
        and not any(
            fnmatch(str(file.relative_to(whole)), pattern)
            for pattern in NOT_READ.get(step, [])
        )
    ]


def refusal(step: str, whole: Path, target: Path) -> str | None:
    """Return what a step says when it refuses its inputs, None if it does not."""
    try:
        run_step(step, whole, target)
    except RetuneError as error:
        shutil.rmtree(target / "state", ignore_errors=True)
        left = [path for path in target.rglob("*") if path.is_file()]
        assert not left, f"{step} has published {left}"
        return str(error)
    return None


def check_refused(step: str, file: Path, whole: Path, target: Path) -> None:
    """Check that a step refuses a file, and says which, and what to do."""
    told = refusal(step, whole, target)
    name = str(file.relative_to(whole))
    if told is None and fnmatch(name, MAY_DO_NO_HARM):
        models = [folder / "models/consolidated" for folder in (whole, target)]
        hashes = [sha256(model / "model.safetensors") for model in models]
        assert hashes[0] == hashes[1]
        shutil.rmtree(target)
        return
    assert told is not None, f"{step} takes {name}"
    writer = next(w for path, w in WRITER.items() if name.startswith(path))
    assert file.name in told, f"{step}, {name}: {told}"
    assert "\n" not in told
    command = f"run {writer} again: snakemake --cores all train --forcerun {writer}"
    assert told.endswith(command), f"{step}, {name}: {told}"


# Ranks start before they have read all tokens.
STARTS_RANKS = ("finetune", "data/tokens")


@pytest.mark.parametrize(
    ("step", "path"),
    [
        pytest.param(*one, marks=pytest.mark.long) if one == STARTS_RANKS else one
        for one in TRAVELS
    ],
)
def test_a_flipped_bit_is_told_with_the_file_and_the_step(whole, tmp_path, step, path):
    files = files_read(whole, step, path)
    assert files
    for file in files:
        good = file.read_bytes()
        flip_a_bit(file)
        try:
            check_refused(step, file, whole, tmp_path / "out")
        finally:
            file.write_bytes(good)


def test_every_file_is_read_by_a_step(whole):
    read = {file for step, path in TRAVELS for file in files_read(whole, step, path)}
    for path in WRITER.keys() - READ_BY_NOBODY:
        output = whole / path
        for file in output.rglob("*") if output.is_dir() else [output]:
            assert file.is_dir() or file in read, f"nobody verifies {file}"


@pytest.mark.parametrize(
    ("step", "path"), [(s, p) for s, p in TRAVELS if not Path(p).suffix]
)
def test_a_file_that_is_cut_off_or_missing_is_told(whole, tmp_path, step, path):
    for file in files_read(whole, step, path):
        good = file.read_bytes()
        try:
            file.write_bytes(good[:-1])
            check_refused(step, file, whole, tmp_path / "out")
            file.unlink()
            check_refused(step, file, whole, tmp_path / "out")
        finally:
            file.write_bytes(good)
