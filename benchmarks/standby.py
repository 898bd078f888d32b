"""A process that has imported everything before there is anything to do.

While one training is measured, the process of the next one gets ready, so that a GPU
that is there for minutes does not wait for imports.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

# Of an error that is shown.
MOST_CHARACTERS = 300


class TaskError(Exception):
    """Why a task has no result, in one line."""


class Standby:
    """A process that waits for one task, does it and ends."""

    def __init__(self, command: list[str], answer: Path) -> None:
        """Start the process.

        Args:
            command: What to run; it calls `wait_for_task`.
            answer: File for the result of its task.
        """
        self._answer = answer
        self._process = subprocess.Popen(
            [*command, str(answer)], stdin=subprocess.PIPE, text=True
        )

    def do(self, task: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the result of a task.

        Args:
            task: What to do, as JSON.
            seconds: Time after which the process is killed.

        Raises:
            TaskError: If it fails, or takes longer.
        """
        try:
            self._process.communicate(json.dumps(task), timeout=max(seconds, 0))
        except subprocess.TimeoutExpired as error:
            raise TaskError(f"not done within {seconds:.0f} s") from error
        finally:
            self.end()
        if not self._answer.exists():
            raise TaskError(f"ended with exit code {self._process.returncode}")
        result: dict[str, Any] = json.loads(self._answer.read_text())
        if "error" in result:
            raise TaskError(result["error"])
        return result

    def end(self) -> None:
        """End the process, whatever it does."""
        with suppress(BrokenPipeError):
            if self._process.stdin:
                self._process.stdin.close()
        self._process.kill()
        self._process.wait()


def standbys(command: list[str], folder: Path, ahead: int = 1) -> Iterator[Standby]:
    """Yield a process for each task; those after it are getting ready.

    Who takes one gives it its task, or ends it.

    Args:
        command: What each runs.
        folder: Folder for their results.
        ahead: Number of processes that get ready meanwhile.
    """
    ready: deque[Standby] = deque()
    number = 0
    try:
        while True:
            while len(ready) <= ahead:
                ready.append(Standby(command, folder / f"{number}.json"))
                number += 1
            yield ready.popleft()
    finally:
        for each in ready:
            each.end()


def wait_for_task(do: Callable[[dict[str, Any]], dict[str, Any]], answer: Path) -> None:
    """Be the process of a `Standby`: wait for its task, do it, and leave the result."""
    given = sys.stdin.read()
    if not given:
        return
    try:
        result = do({**json.loads(given), "began": time.time()})
    except BaseException as error:
        traceback.print_exc()
        said = (str(error) or "no message").splitlines()[0][:MOST_CHARACTERS]
        result = {"error": f"{type(error).__name__}: {said}"}
    part = answer.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.rename(answer)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
