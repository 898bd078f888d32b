"""How far a training is: a bar on the terminal, and a line a minute in the log."""

import logging
import time
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from retune.measuring.history import read_last_step

log = logging.getLogger(__name__)

BETWEEN_LINES_S = 60.0


class Progress(Protocol):
    """Shows how far a training is; `show` is called again and again while it runs."""

    def show(self, state: Path) -> None:
        """Show how far the training is that writes its history into a folder."""


class Silent:
    """The progress on a node: the step that started it shows the progress of all."""

    def show(self, state: Path) -> None:
        """Show nothing."""


class BarAndLog:
    """The progress in the step: a bar, and a line in the log from time to time."""

    def __init__(self, bar: tqdm) -> None:
        """Take a bar of optimizer steps; one that is disabled is not drawn."""
        self._bar = bar
        self._last_line = time.monotonic()
        self._first: tuple[int, float] | None = None

    def show(self, state: Path) -> None:
        """Move the bar to the last step; write a line into the log if that is due."""
        is_due = time.monotonic() - self._last_line > BETWEEN_LINES_S
        if self._bar.disable and self._first and not is_due:
            return
        last = read_last_step(state)
        if last is None:
            return
        self._first = self._first or (last.step, time.monotonic())
        speed = last.num_labels / last.seconds
        shown = f"loss {last.train_loss:.3f}, {speed:,.0f} tokens/s"
        if not self._bar.disable:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(last.step - self._bar.n)
        if is_due:
            self._last_line = time.monotonic()
            left = time_left(self._first, last.step, self._bar.total)
            log.info("step %d of %d: %s%s", last.step, self._bar.total, shown, left)


def time_left(first: tuple[int, float], step: int, total: int) -> str:
    """Return in words how long the rest will take at the speed until now.

    Args:
        first: A step, and the time when it was seen, seconds of CLOCK_MONOTONIC.
        step: The last step.
        total: Number of steps.
    """
    before, since = first
    if step == before:
        return ""
    seconds = (time.monotonic() - since) / (step - before) * (total - step)
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f", about {hours}:{minutes:02d}:{seconds:02d} left"
