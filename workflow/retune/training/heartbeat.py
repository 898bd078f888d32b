"""Each rank's sign of life, for whoever watches them: where it is, and since when."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

# Every record has this many bytes, so that a new one covers the last.
LENGTH = 160


@dataclass(frozen=True)
class Beat:
    """A rank's last sign of life.

    Args:
        rank: Its number.
        step: Optimizer step it works on.
        beats: How many beats it has made in this step; ranks that do the same make the
            same ones.
        phase: What it does, such as `forward`.
        time: When, seconds of CLOCK_MONOTONIC, which all processes share.
    """

    rank: int
    step: int
    beats: int
    phase: str
    time: float


class Heartbeat:
    """The writing end, in a rank."""

    def __init__(self, state: Path, rank: int) -> None:
        """Write to `state/heartbeat-rankN`."""
        self._file = os.open(
            state / f"heartbeat-rank{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        )
        self._rank = rank
        self._beats = 0
        self._phase = ""
        self.step = 0

    def beat(self, step: int, phase: str) -> None:
        """Say that this rank is alive: one write to the page cache, microseconds."""
        self._beats = self._beats + 1 if step == self.step else 1
        self.step = step
        self._phase = phase
        self.go_on()

    def go_on(self) -> None:
        """Say that what the last beat named goes on; any thread may."""
        beat = Beat(self._rank, self.step, self._beats, self._phase, time.monotonic())
        os.pwrite(self._file, json.dumps(vars(beat)).ljust(LENGTH).encode(), 0)


def read_beats(state: Path) -> list[Beat]:
    """Return the last beat of each rank that has made one, by rank."""
    paths = state.glob("heartbeat-rank*")
    texts = [read_whole(path) for path in paths]
    # A file is empty until the first beat.
    beats = [Beat(**json.loads(text)) for text in texts if text]
    return sorted(beats, key=lambda beat: beat.rank)


def read_whole(path: Path) -> str:
    """Return what a file holds, even if it is written at the same moment."""
    while (text := path.read_text()) != path.read_text():
        pass
    return text


def furthest_behind(beats: list[Beat]) -> list[Beat]:
    """Return the beats of the ranks that are behind all others, or level with them."""
    least = min((beat.step, beat.beats) for beat in beats)
    return [beat for beat in beats if (beat.step, beat.beats) == least]
