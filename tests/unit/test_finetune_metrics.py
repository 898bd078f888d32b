"""The numbers of a training, from its history to the file that is published."""

import pytest

from history_rows import step_row
from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.checkpoints.checkpoint_progress import CheckpointProgress
from retune.errors import RetuneError
from retune.measuring.history import RunMeasurements, RunStart, ValidationRow
from retune.training.metrics import metrics_of

MEASURED = RunMeasurements(
    [0.51234, 0.25],
    flops_per_token=None,
    device="cpu",
    memory_before_gb=[0.4, 0.21234],
    peak_memory_gb_by_phase={"load": 0.12345, "training": 0.51234},
)
NEW = RunStart(0, None)
ROWS = [
    ValidationRow(0, 8.0),
    step_row(1, epoch=0.5, train_loss=7.5),
    ValidationRow(1, 6.5),
    step_row(2, epoch=1.0, train_loss=None),
    ValidationRow(2, 7.0),
]


def metrics(rows=ROWS, start=NEW):
    """Return the numbers of a run of two steps that took 10 s."""
    published = CheckpointProgress(2, skipped=1, validation_loss=7.0)
    return metrics_of(rows, MEASURED, start, published, seconds=10.04)


def test_the_numbers_are_those_of_the_history():
    numbers = metrics()
    assert (numbers.steps, numbers.epochs, numbers.tokens) == (2, 1.0, 1800)
    assert (numbers.published_step, numbers.skipped_steps) == (2, 1)
    # The last step has no finite loss.
    assert numbers.train_loss == 7.5
    assert (numbers.validation_loss, numbers.best_validation_loss) == (7.0, 6.5)
    assert numbers.tokens_per_second == 3000.0
    assert numbers.peak_memory_gb == (0.512, 0.25)
    assert numbers.memory_before_gb == (0.4, 0.212)
    assert numbers.peak_memory_gb_by_phase == {"load": 0.123, "training": 0.512}
    assert numbers.seconds == 10.0


def test_only_a_resumed_run_says_where_it_was_resumed():
    assert metrics().resumed_from_step is None
    assert metrics(start=RunStart(1, saved_on=2)).resumed_from_step == 1


def test_the_file_is_read_as_it_was_written(tmp_path):
    beside = tmp_path / "history.csv"
    beside.write_text("step\n")
    numbers = metrics(start=RunStart(1, saved_on=2))
    numbers.write(tmp_path / "metrics.json", beside)
    path = tmp_path / "metrics.json"
    assert FinetuneMetrics.read_verified(path, beside) == numbers
    assert FinetuneMetrics.read(path) == numbers


def test_where_no_phase_is_measured_none_is_written(tmp_path):
    numbers = metrics().model_copy(update={"peak_memory_gb_by_phase": {}})
    numbers.write(tmp_path / "metrics.json")
    assert "by_phase" not in (tmp_path / "metrics.json").read_text()
    assert FinetuneMetrics.read(tmp_path / "metrics.json") == numbers


def test_a_run_without_any_finite_loss_has_no_numbers():
    rows = [ValidationRow(0, 8.0), step_row(1, train_loss=None)]
    with pytest.raises(RetuneError, match="no step had a finite loss"):
        metrics(rows)
