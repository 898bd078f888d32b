"""What a training's log says of its progress."""

import io
import logging

import pytest
from tqdm import tqdm

from history_rows import step_row
from retune.measuring.history import History, RunStart
from retune.supervision import watched_progress
from retune.supervision.watched_progress import BarAndLog


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(watched_progress.time, "monotonic", lambda: now[0])
    return now


def train_to(state, step):
    """Write a history that ends at a step."""
    history = History(state, 0, RunStart(0, None))
    for number in range(step + 1):
        history.write(step_row(number, train_loss=5.0, num_labels=900, seconds=0.3))


@pytest.mark.parametrize("is_drawn", [False, True])
def test_a_line_a_minute_says_how_far_it_is(tmp_path, clock, caplog, is_drawn):
    caplog.set_level(logging.INFO)
    bar = tqdm(total=200, disable=not is_drawn, file=io.StringIO())
    progress = BarAndLog(bar)
    progress.show(tmp_path)  # before the first step
    for seconds, step in ((10, 2), (30, 20), (90, 52), (91, 53), (120, 60)):
        clock[0] = 1000 + seconds
        train_to(tmp_path, step)
        progress.show(tmp_path)
        assert not is_drawn or bar.n == step
    # 50 steps took 80 s, 148 are left.
    assert caplog.messages == [
        "step 52 of 200: loss 5.000, 3,000 tokens/s, about 0:03:57 left"
    ]
