"""Each rank's last sign of life, in a file: what the rank does, and since when."""

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

    Attributes:
        rank: Number of the rank.
        step: Optimizer step that it works on.
        beats: Number of its beats in this step; ranks that are equally far have made
            equally many.
        phase: What it does, such as `training`.
        time: Time of the beat, seconds of CLOCK_MONOTONIC, which all processes of a
            machine share.
    """

    rank: int
    step: int
    beats: int
    phase: str
    time: float

    @property
    def seconds_ago(self) -> float:
        """Seconds since the beat, on its own machine."""
        return time.monotonic() - self.time


class Heartbeat:
    """The heartbeat of this rank, which its process writes.

    Attributes:
        step: Optimizer step of the last beat.
    """

    def __init__(self, state: Path, rank: int) -> None:
        """Write to `state/heartbeat-rankN`, which is empty until the first beat."""
        self._file = os.open(
            state / f"heartbeat-rank{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        )
        self._rank = rank
        self._beats = 0
        self._phase = ""
        self.step = 0

    def beat(self, step: int, phase: str) -> None:
        """Say that this rank is alive: one write to the page cache, microseconds.

        Args:
            step: Optimizer step that it works on.
            phase: What it does from now on.
        """
        self._beats = self._beats + 1 if step == self.step else 1
        self.step = step
        self._phase = phase
        self.go_on()

    def go_on(self) -> None:
        """Say that the phase of the last beat goes on; any thread may call this."""
        beat = Beat(self._rank, self.step, self._beats, self._phase, time.monotonic())
        os.pwrite(self._file, json.dumps(vars(beat)).ljust(LENGTH).encode(), 0)


def read_beats(state: Path) -> list[Beat]:
    """Return the last beat of each rank that has made one, by rank."""
    paths = state.glob("heartbeat-rank*")
    texts = [read_whole(path) for path in paths]
    beats = [Beat(**json.loads(text)) for text in texts if text]
    return sorted(beats, key=lambda beat: beat.rank)


def read_whole(path: Path) -> str:
    """Return the text of a file, even if it is written at the same moment."""
    while (text := path.read_text()) != path.read_text():
        pass
    return text


def furthest_behind(beats: list[Beat]) -> list[Beat]:
    """Return the beats of the ranks that no other rank is behind."""
    least = min((beat.step, beat.beats) for beat in beats)
    return [beat for beat in beats if (beat.step, beat.beats) == least]
