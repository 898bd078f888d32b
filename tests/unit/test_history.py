"""The history is followed by its end and published as tables."""

from retune.training.history import END_BYTES, STEPS, History, as_csv, read_last_step


def test_the_last_step_is_read_off_the_end(tmp_path):
    assert read_last_step(tmp_path) is None
    history = History(tmp_path, None, rank=0)
    history.write(step=0, validation_loss=8.0)
    assert read_last_step(tmp_path) is None
    for step in range(1, 500):
        loss = None if step == 499 else 8 - step / 500  # the last one was skipped
        history.write(step=step, train_loss=loss, seconds=0.1, num_labels=1000)
        last = read_last_step(tmp_path)
        assert last["step"] == min(step, 498)
    assert (tmp_path / "history.jsonl").stat().st_size > 3 * END_BYTES


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    history = History(tmp_path, None, rank=0)
    history.write(step=0, validation_loss=8.0)
    history.write(step=1, train_loss=7.5)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 2, "train_lo')
    assert read_last_step(tmp_path)["step"] == 1


def test_a_skipped_step_has_no_line_and_what_was_not_measured_is_empty():
    skipped = {"step": 1, "train_loss": None}
    taken = {"step": 2, "train_loss": 7.5, "seconds": 0.25, "grad_norm": None}
    lines = as_csv(
        [{"step": 0, "validation_loss": 8.0}, skipped, taken], STEPS, of="train_loss"
    )
    head, line = lines.splitlines()
    assert head.split(",") == list(STEPS)
    values = dict(zip(STEPS, line.split(","), strict=True))
    assert values["step"] == "2"
    assert values["seconds"] == "0.25"
    assert values["grad_norm"] == values["mfu"] == ""
