"""A process that runs steps against a loopback hub, one JSON line per step.

The hub's client reads its environment when it is imported, so it must start in a
process of its own; one process for many steps saves the imports.
"""

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

# Short, so that tests of a hub that stays away take seconds.
PATIENCE = "3"
DELAYS = (0.01, 0.02, 0.5)
LONGEST_PAUSE = 0.1


@dataclass
class Outcome:
    """What became of a step."""

    result: str | None
    error: str | None
    crash: str | None
    seconds: float
    torch_is_loaded: bool


class Worker:
    """The process; a context manager."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.log = folder / "worker.log"
        self.folder = folder
        tests = Path(__file__).parent
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        self.environment = {
            **inherited,
            "PYTHONPATH": f"{tests}:{tests.parent / 'workflow'}",
            "OMP_NUM_THREADS": "1",
            "RETUNE_HUB_PATIENCE": PATIENCE,
            **environment,
        }

    def __enter__(self) -> "Worker":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hub_worker"],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            text=True,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()

    def run(self, step: str, target: Path, **settings: Any) -> Outcome:
        """Run a step in the process and return what became of it."""
        print(json.dumps([step, settings, str(target)]), file=self.process.stdin)
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.log.read_text()
        return Outcome(*json.loads(answer))


def serve() -> None:
    """Run the steps that standard input asks for."""
    from retune.errors import RetuneError
    from retune.settings import DatasetSettings, ModelSettings
    from retune.sources import hub_outage, hub_retries

    logging.basicConfig(level=logging.INFO)
    sys.__stdout__ = None  # the answers stand there, and nothing for people
    hub_retries.DELAYS = DELAYS
    hub_outage.LONGEST_PAUSE = LONGEST_PAUSE
    models = {"download": DatasetSettings, "fetch": ModelSettings}
    for line in sys.stdin:
        step, settings, target = json.loads(line)
        result = error = crash = None
        start = time.monotonic()
        try:
            settings = models[step].model_validate(settings)
            result = import_module(f"retune.steps.{step}").run(settings, Path(target))
        except RetuneError as problem:
            error = str(problem)
        except Exception as problem:
            logging.exception("crash")
            crash = repr(problem)
        seconds = time.monotonic() - start
        print(
            json.dumps([result, error, crash, seconds, "torch" in sys.modules]),
            flush=True,
        )


if __name__ == "__main__":
    serve()
