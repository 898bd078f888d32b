"""DVC's experiments: from a queue, elsewhere and in place; and what they show."""

import csv
import io
import json
import time
from collections import defaultdict

import pytest

from versioned_run import VersionedRun

pytestmark = [pytest.mark.slow, pytest.mark.long]

PATIENCE_S = 400
RATES = {1e-4, 2e-4}
# The column of the table; another has the setting as it is resolved.
RATE = "params.yaml:finetune.learning_rate"


@pytest.fixture(scope="module")
def swept(finished, tmp_path_factory) -> VersionedRun:
    """A finished run, and two experiments that two workers took from the queue."""
    run = finished.copy(tmp_path_factory.mktemp("swept") / "job")
    rates = ",".join(map(str, sorted(RATES)))
    run("dvc", "exp", "run", "--queue", "-S", f"finetune.learning_rate={rates}")
    try:
        run("dvc", "queue", "start", "--jobs", "2")
        end = time.monotonic() + PATIENCE_S
        while "Success" not in (shown := run("dvc", "queue", "status")) or any(
            word in shown for word in ("Queued", "Running")
        ):
            assert "Failed" not in shown, shown + logs(run)
            assert time.monotonic() < end, shown
            time.sleep(2)
    finally:
        run("dvc", "queue", "stop", "--kill")
    return run


def logs(run):
    """Return what the experiments of the queue have printed."""
    names = [row["Experiment"] for row in table(run)]
    return "\n".join(run.attempt("dvc", "queue", "logs", n).stdout for n in names if n)


def table(run):
    """Return a row per experiment, after those of the workspace and the commit."""
    text = run("dvc", "exp", "show", "--csv")
    return list(csv.DictReader(io.StringIO(text)))


def names_of(run):
    """Return the experiments' names by learning rate."""
    return {
        float(row[RATE]): row["Experiment"] for row in table(run) if row["Experiment"]
    }


def test_a_queue_with_two_workers_runs_every_experiment(swept):
    rows = [row for row in table(swept) if row["Experiment"]]
    assert {float(row[RATE]) for row in rows} == RATES
    assert {row["State"] for row in rows} == {"Success"}
    scores = {row["test.tuned.bits_per_byte"] for row in rows}
    assert len(scores) == len(RATES)
    assert all(float(score) > 0 for score in scores)


def test_an_applied_experiment_leaves_nothing_to_do(swept, tmp_path):
    run = swept.copy(tmp_path / "job")
    run("dvc", "exp", "apply", names_of(run)[2e-4])
    assert run.is_quiet()
    assert "learning_rate: 0.0002" in (run.folder / "params.yaml").read_text()


def test_settings_and_metrics_are_compared(swept):
    name = names_of(swept)[2e-4]
    params = json.loads(swept("dvc", "params", "diff", "--json", "HEAD", name))
    assert list(params["params.yaml"]) == ["finetune.learning_rate"]
    metrics = json.loads(swept("dvc", "metrics", "diff", "--json", "HEAD", name))
    assert "test.tuned.bits_per_byte" in metrics["metrics/evaluation.json"]


def test_the_plots_show_what_was_measured_and_nothing_else(swept):
    name = names_of(swept)[2e-4]
    shown = json.loads(swept("dvc", "plots", "diff", "--json", "HEAD", name))
    assert set(shown["data"]) == {"Loss", "Learning rate", "Gradient norm"}
    (loss,) = shown["data"]["Loss"]
    steps = defaultdict(list)
    for point in loss["content"]["data"]["values"]:
        assert 4 < float(point["dvc_inferred_y_value"]) < 7
        steps[point["rev"], point["filename::field"]].append(int(point["step"]))
    assert steps == {
        (revision, field): numbers
        for revision in ("HEAD", name)
        for field, numbers in (
            ("history.csv::train_loss", [1, 2, 3, 4]),
            ("validation.csv::validation_loss", [0, 4]),
        )
    }


def test_an_experiment_elsewhere_leaves_the_workspace_as_it_is(run):
    run(
        "dvc",
        "exp",
        "run",
        "--temp",
        "--name",
        "short",
        "-S",
        "sample.max_new_tokens=3",
    )
    assert run.is_quiet()
    assert "short" in run("dvc", "exp", "list", "--names-only").split()


def test_an_experiment_in_place_leaves_nothing_to_do_and_minds_the_profile(
    run, tmp_path
):
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text("printshellcmds: true\n")
    shown = run(
        *["dvc", "exp", "run", "-S", "sample.max_new_tokens=3"],
        RETUNE_PROFILE=str(profile),
    )
    assert "Running stage 'sample'" in shown
    assert "python -m retune sample" in shown
    assert run.is_quiet()
