"""The history is followed by its end and published as tables."""

from history_rows import step_row
from retune.artifacts.training_history import StepHistory
from retune.measuring.history import (
    END_BYTES,
    History,
    RunMeasurements,
    RunStart,
    ValidationRow,
    read_history,
    read_last_step,
    read_measurements,
    read_start,
)
from retune.measuring.history_tables import steps_csv, validations_csv

NEW = RunStart(0, None)


def test_the_last_step_is_read_off_the_end(tmp_path):
    assert read_last_step(tmp_path) is None
    history = History(tmp_path, 0, NEW)
    history.write(ValidationRow(0, 8.0))
    assert read_last_step(tmp_path) is None
    for step in range(1, 500):
        loss = None if step == 499 else 8 - step / 500  # the last one was skipped
        history.write(step_row(step, train_loss=loss))
        last = read_last_step(tmp_path)
        assert last.step == min(step, 498)
    assert (tmp_path / "history.jsonl").stat().st_size > 3 * END_BYTES


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    history = History(tmp_path, 0, NEW)
    history.write(ValidationRow(0, 8.0))
    history.write(step_row(1))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 2, "train_lo')
    assert read_last_step(tmp_path).step == 1


def test_what_is_written_is_read_again(tmp_path):
    rows = [ValidationRow(0, 8.0), step_row(1), step_row(2), ValidationRow(2, 7.0)]
    history = History(tmp_path, 0, NEW)
    for row in rows:
        history.write(row)
    peaks = {"load": 0.1, "training": 0.5}
    measured = RunMeasurements([0.5, 0.25], None, "cpu", [0.4, 0.2], peaks)
    history.finish(measured)
    assert read_history(tmp_path) == rows
    assert read_start(tmp_path) == NEW
    assert read_measurements(tmp_path) == measured


def test_a_resumed_run_keeps_the_rows_until_its_checkpoint(tmp_path):
    rows = [ValidationRow(0, 8.0), step_row(1), ValidationRow(1, 7.0), step_row(2)]
    history = History(tmp_path, 0, NEW)
    for row in rows:
        history.write(row)
    History(tmp_path, 0, RunStart(1, saved_on=2))
    assert read_history(tmp_path) == rows[:3]
    assert read_start(tmp_path) == RunStart(1, saved_on=2)


def test_other_ranks_write_nothing(tmp_path):
    History(tmp_path, 1, NEW).write(step_row(1))
    assert list(tmp_path.iterdir()) == []


def test_a_skipped_step_has_no_line_and_what_was_not_measured_is_empty():
    lines = steps_csv(
        [
            step_row(1, train_loss=None),
            step_row(2, was_skipped=True),
            step_row(3, seconds=0.25, grad_norm=None, forward_seconds=None),
        ]
    )
    head, line = lines.splitlines()
    assert head.split(",") == list(StepHistory.columns())
    values = dict(zip(StepHistory.columns(), line.split(","), strict=True))
    assert values["step"] == "3"
    assert values["seconds"] == "0.25"
    assert values["grad_norm"] == values["forward_seconds"] == ""


def test_validations_are_a_table_of_their_own():
    rows = [ValidationRow(0, 8.0), ValidationRow(25, 7.1234567)]
    assert validations_csv(rows) == "step,validation_loss\n0,8\n25,7.12346\n"
