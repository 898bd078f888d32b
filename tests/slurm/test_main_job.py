"""The main job on a cluster: the steps where they belong, results as at home."""

import pytest

from cluster_run import CHECKPOINT, PROFILE
from versioned_run import steps_run

pytestmark = pytest.mark.slurm

LOCAL = {"download", "fetch"}
JOBS = {
    *("prepare", "tokenize", "configure", "baseline", "finetune", "consolidate"),
    *("evaluate", "sample", "report", "publish"),
}


def test_every_step_runs_and_tells_its_result(finished):
    assert set(steps_run(finished.shown)) == LOCAL | JOBS
    queued = {
        line.split()[0] for line in finished.shown.splitlines() if "queued" in line
    }
    assert queued == JOBS
    assert "bits per byte" in finished.shown
    assert (finished.folder / "models/tuned/README.md").exists()
    assert "on 2 nodes" in finished.log()


def test_a_training_on_two_nodes_is_that_of_as_many_ranks_here(finished, tmp_path):
    here = finished.copy(tmp_path / "here")
    here.change("hardware", nodes=1, ranks_per_node=4)
    here("snakemake", "--cores", "4", "--", CHECKPOINT)
    assert here.history() == finished.history()
    assert here.weights() == finished.weights()


def test_both_tools_agree_on_what_the_cluster_made(finished):
    assert "Nothing to be done" in finished.snakemake("train")
    # At the user's files DVC looks each time.
    assert finished("dvc", "status").split() == [
        *("resolved/dvc.yaml:resolve:", "always", "changed")
    ]


def test_an_experiment_of_dvc_runs_on_the_cluster(finished, tmp_path):
    run = finished.copy(tmp_path / "experiment", with_dvc=True)
    run.commit("first run")
    command = (
        "dvc",
        "exp",
        "run",
        "-S",
        "configure.micro_batch_size=2",
        "configure",
    )
    shown = run(*command, RETUNE_PROFILE=PROFILE)
    assert "Running stage 'configure'" in shown
    assert "configure      queued  SLURM job" in shown
    assert run.read("plan/plan.json")["micro_batch_size"] == 2
    assert "Ran experiment" in shown
