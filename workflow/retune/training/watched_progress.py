"""How far a training is: a bar on the terminal, and a line a minute in the log."""

import logging
import time
from pathlib import Path
from typing import Any, Protocol

from retune.training.history import read_last_step

log = logging.getLogger(__name__)

BETWEEN_LINES_S = 60.0


class Progress(Protocol):
    """Told again and again where a training writes its history."""

    def show(self, state: Path) -> None:
        """Show how far it is."""


class Silent:
    """On a node: the step that started it shows the progress of all."""

    def show(self, state: Path) -> None:
        """Show nothing."""


class BarAndLog:
    """In the step."""

    def __init__(self, bar: Any) -> None:
        """Take a tqdm bar of optimizer steps; one that is disabled stays unused."""
        self._bar = bar
        self._told = time.monotonic()
        self._first: tuple[int, float] | None = None

    def show(self, state: Path) -> None:
        """Move the bar to the last step; say how far it is if that is due."""
        is_due = time.monotonic() - self._told > BETWEEN_LINES_S
        if self._bar.disable and self._first and not is_due:
            return
        last = read_last_step(state)
        if last is None:
            return
        self._first = self._first or (last["step"], time.monotonic())
        speed = last["num_labels"] / last["seconds"]
        shown = f"loss {last['train_loss']:.3f}, {speed:,.0f} tokens/s"
        if not self._bar.disable:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(last["step"] - self._bar.n)
        if is_due:
            self._told = time.monotonic()
            left = time_left(self._first, last["step"], self._bar.total)
            log.info("step %d of %d: %s%s", last["step"], self._bar.total, shown, left)


def time_left(first: tuple[int, float], step: int, total: int) -> str:
    """Return how long the rest will take, as it went until now."""
    before, since = first
    if step == before:
        return ""
    seconds = (time.monotonic() - since) / (step - before) * (total - step)
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f", about {hours}:{minutes:02d}:{seconds:02d} left"
