"""DVC's experiments: in place, elsewhere, and from a queue; and what they show."""

import csv
import io

import pytest

pytestmark = pytest.mark.slow


def experiments(run):
    """Return a row per experiment, and one of the workspace, as `dvc exp show` does."""
    table = run("dvc", "exp", "show", "--csv", "--num", "1")
    return list(csv.DictReader(io.StringIO(table)))


def test_an_experiment_in_place_leaves_snakemake_nothing_to_do(run):
    run("dvc", "exp", "run", "--name", "slow", "-S", "finetune.learning_rate=1e-4")
    assert run.is_quiet()
    row = next(row for row in experiments(run) if row["Experiment"] == "slow")
    assert float(row["learning_rate"]) == 1e-4
    assert float(row["test.tuned.bits_per_byte"]) > 0
    assert "learning_rate" in run("dvc", "params", "diff", "HEAD", "slow")
    assert "bits_per_byte" in run("dvc", "metrics", "diff", "HEAD", "slow")
