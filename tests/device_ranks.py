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
from deepspeed.accelerator import get_accelerator
from torch.utils._python_dispatch import TorchDispatchMode

import fault_points
from retune.artifacts.publishing import read_json
from retune.artifacts.run_spec import RunSpec
from retune.engines.data_parallel import DataParallel
from retune.settings import FinetuneSettings
from retune.supervision.heartbeat import Heartbeat
from retune.supervision.stopping import StopRequest
from retune.training.loop import train
from retune.training.rank import leave

# In the folder of a training: the traceback, and where each step's forward and backward
# passes made the host wait for the device.
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


waits: list[list[str]] = []


def counting_waits(train_batch: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which notes where the host waits for the device."""

    def counted(*arguments: Any) -> Any:
        places: list[str] = []
        waits.append(places)
        with noted_waits(places):
            return train_batch(*arguments)

    return counted


@contextmanager
def noted_waits(places: list[str]) -> Iterator[None]:
    """Note where the host waits for the device, or on a CPU would wait for a GPU."""
    if not torch.cuda.is_available():
        with noted_calls(type(get_accelerator()), "synchronize", places), Reads(places):
            yield
        return
    with (
        warnings.catch_warnings(record=True) as caught,
        noted_calls(torch.cuda, "synchronize", places),
        noted_calls(torch.cuda.Stream, "synchronize", places),
    ):
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
            places += [
                f"{warning.filename}:{warning.lineno}"
                for warning in caught
                if "synchronizing CUDA" in str(warning.message)
            ]


@contextmanager
def noted_calls(owner: Any, name: str, places: list[str]) -> Iterator[None]:
    """Note where a function is called."""
    original = getattr(owner, name)

    def call(*arguments: Any, **values: Any) -> Any:
        places.append(f"{name}, {caller(2)}")
        return original(*arguments, **values)

    with patch.object(owner, name, call):
        yield


class Reads(TorchDispatchMode):
    """Notes where the host reads a value of a tensor."""

    def __init__(self, places: list[str]) -> None:
        """Note into a list."""
        super().__init__()
        self._places = places

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator; PyTorch calls this."""
        if func in READS:
            self._places.append(f"{func}, {caller(2)}")
        return func(*args, **(kwargs or {}))


READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


def caller(depth: int) -> str:
    """Return the file and line that called a function, beside PyTorch's own."""
    frame = sys._getframe(depth)
    while frame.f_back and frame.f_code.co_filename.startswith(PYTORCH):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


PYTORCH = str(Path(torch.__file__).parent)


if __name__ == "__main__":
    main()
    leave(0)
