"""A bit that flips on the disk between two runs: told, and mended by what is told."""

import re

import pytest

from flipped_bit import flip_a_bit
from versioned_run import VersionedRun, steps_run

pytestmark = pytest.mark.slow

TOKENS = "data/tokens/train.tokens.bin"


@pytest.mark.parametrize(
    "environment",
    [{}, pytest.param({"RETUNE_NO_DVC": "1"}, marks=pytest.mark.long)],
    ids=["dvc", "no"],
)
def test_the_command_in_the_sentence_mends_a_flipped_bit(
    run: VersionedRun, environment
):
    good = run.bytes_of(TOKENS)
    flip_a_bit(run.folder / TOKENS)
    run.change("finetune", learning_rate=0.01)

    shown = fail(run, **environment)
    assert f"{TOKENS} is not what tokenize wrote: its bytes have changed" in shown
    assert "finetune" not in steps_run(shown)
    command = re.search(r"run tokenize again: snakemake --cores all (.*)", shown)[1]
    shown = run("snakemake", "--cores", "1", *command.split(), **environment)
    assert {"tokenize", "finetune", "report"} <= set(steps_run(shown))
    assert run.bytes_of(TOKENS) == good
    assert steps_run(run.train(**environment)) == []


def test_the_cache_of_dvc_has_good_bytes_again(run: VersionedRun):
    good, lock = run.bytes_of(TOKENS), run.lock()
    # A link into the cache: the object is damaged as well.
    flip_a_bit(run.folder / TOKENS)
    assert run.bytes_of(TOKENS) != good
    run.train("--forcerun", "tokenize")
    assert run.lock()["tokenize"] == lock["tokenize"]
    (run.folder / TOKENS).unlink()
    run("dvc", "checkout", "data/tokens")
    assert run.bytes_of(TOKENS) == good
    assert run.is_quiet()


@pytest.mark.long
def test_what_is_damaged_is_not_recorded_as_the_result_of_a_step(run: VersionedRun):
    lock = run.lock()
    path = run.folder / TOKENS
    # A copy, as another disk has it: DVC has not seen this file yet.
    content = path.read_bytes()
    status = path.stat()
    path.unlink()
    path.write_bytes(content)
    flip_a_bit(path, status)
    run.change("finetune", learning_rate=0.01)
    shown = run.train()
    # The cache has the good one.
    assert "brought back from DVC's cache instead of run: tokenize" in shown
    assert path.read_bytes() == content
    assert run.lock()["tokenize"] == lock["tokenize"]
    assert run.is_quiet()


def fail(run: VersionedRun, **environment: str) -> str:
    """Run the main job, which must fail; return what it prints."""
    result = run.attempt("snakemake", "--cores", "1", "train", **environment)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout + result.stderr
