"""A rank that trains several runs one after the other, on a CPU or a GPU.

Run as `python tests/device_ranks.py FOLDER` with a rank's environment; FOLDER/jobs.json
says what to train. A training that fails leaves its traceback and the next one begins:
on a machine that is there for minutes, one mistake must not hide what follows.
"""

import gc
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import fault_points
from retune.artifacts.publishing import read_json
from retune.artifacts.run_spec import RunSpec
from retune.engines.data_parallel import DataParallel
from retune.settings import FinetuneSettings
from retune.supervision.heartbeat import Heartbeat
from retune.supervision.stopping import StopRequest
from retune.training.loop import train
from retune.training.rank import leave

# In the folder of a training: the traceback, and the number of times that each step's
# forward and backward passes made the host wait for the device.
FAILED, WAITS = "failed.txt", "waits.json"


def main() -> None:
    """Train all jobs."""
    folder = Path(sys.argv[1])
    DataParallel.train_batch = counting_waits(DataParallel.train_batch)  # type: ignore[method-assign]
    for job in read_json(folder / "jobs.json"):
        state = Path(job["state"])
        state.mkdir(parents=True, exist_ok=True)
        (state / FAILED).unlink(missing_ok=True)
        torch.use_deterministic_algorithms(job["is_deterministic"], warn_only=True)
        waits.clear()
        try:
            with fault_points.installed(job["fault"]):
                run = RunSpec.make(
                    FinetuneSettings(**job["settings"]),
                    *(folder / "base", folder / "tokens", Path(job["plan"])),
                )
                heartbeat = Heartbeat(state, int(os.environ["RANK"]))
                assert train(run, state, StopRequest(), heartbeat)
        except Exception:
            (state / FAILED).write_text(traceback.format_exc())
        (state / WAITS).write_text(json.dumps(waits))
        gc.collect()


waits: list[int] = []


def counting_waits(train_batch: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which notes how often the host waits for the device."""

    def counted(*arguments: Any) -> Any:
        if not torch.cuda.is_available():
            waits.append(0)
            return train_batch(*arguments)
        with (
            warnings.catch_warnings(record=True) as caught,
            counted_calls(torch.cuda, "synchronize") as of_device,
            counted_calls(torch.cuda.Stream, "synchronize") as of_streams,
        ):
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                return train_batch(*arguments)
            finally:
                torch.cuda.set_sync_debug_mode("default")
                said = [str(warning.message) for warning in caught]
                implicit = sum("synchronizing CUDA" in line for line in said)
                waits.append(implicit + len(of_device) + len(of_streams))

    return counted


@contextmanager
def counted_calls(owner: Any, name: str) -> Iterator[list[None]]:
    """Yield a list that gets an item at each call of a function."""
    original, calls = getattr(owner, name), []

    def call(*arguments: Any, **values: Any) -> Any:
        calls.append(None)
        return original(*arguments, **values)

    with patch.object(owner, name, call):
        yield calls


if __name__ == "__main__":
    main()
    leave(0)
