"""A training of a few steps in this process: its memory in each phase, and its time."""

import fcntl
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retune.artifacts.plan import Plan
from retune.artifacts.run_spec import RunSpec
from retune.compat.pytorch_live_storages import LiveStorages
from retune.engines.trainers import build_trainer, start_process_group
from retune.launching.compiled_operators import build_ops
from retune.launching.this_machine import LOOPBACK, free_port, rank_environment
from retune.measuring.device_memory import PEAKS
from retune.measuring.stopwatch import Pass, Stopwatch
from retune.planning.deepspeed_config import deepspeed_config
from retune.settings import FinetuneSettings
from retune.tokens.blocks import Batch

# The first allocates, and chooses kernels; on a GPU a step takes no time.
STEPS = {"cpu": 3, "cuda": 6}
RATE = 1e-4
# Pass of the stopwatch -> phase of the prediction.
PHASE_OF: dict[Pass, str] = {
    "forward": "forward",
    "backward": "backward",
    "optimizer": "step",
}


class Allocated:
    """The most bytes of tensors on a GPU, as PyTorch's allocator counts them."""

    def take(self) -> int:
        """Return the most since the last call."""
        peak: int = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak


class Counted:
    """The most bytes of tensors in main memory, counted operator by operator."""

    def __init__(self, live: LiveStorages) -> None:
        """Read what counts them."""
        self._live = live

    def take(self) -> int:
        """Return the most since the last call."""
        peak = self._live.peak
        self._live.restart()
        return peak


class WatchedPasses(Stopwatch):
    """Takes the peak of each pass."""

    def __init__(self, peaks: Allocated | Counted) -> None:
        """Begin with no peak."""
        super().__init__()
        self.peaks = peaks
        self.held: dict[str, int] = {}

    @contextmanager
    def measure(self, name: Pass) -> Iterator[None]:
        """Measure a block."""
        with super().measure(name):
            yield
        self.note(PHASE_OF[name])

    def note(self, phase: str) -> None:
        """Take the peak until now as one of a phase."""
        self.held[phase] = max(self.held.get(phase, 0), self.peaks.take())


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Train; return the most bytes that tensors took in each phase, and step times.

    All tokens are trained, and each sequence is one document, as is predicted.

    Args:
        task: The values of a plan, the folder of its model, the bytes that tensors may
            take of the GPU at most, None for all of it, and a file: the process that
            holds a lock of it takes its steps; others load or end meanwhile.
    """
    plan, base = Plan(**task["plan"]), Path(task["base"])
    os.environ |= {
        **rank_environment(plan.accelerator, 1, LOOPBACK),
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        "MASTER_PORT": str(free_port()),
    }
    build_ops(plan)
    run = RunSpec(
        settings=FinetuneSettings(learning_rate=RATE),
        base=base,
        tokens=base,
        plan=plan,
        deepspeed=deepspeed_config(plan),
    )
    start_process_group(plan, 60)
    if plan.accelerator == "cuda":
        if task["most_bytes"]:
            there = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(task["most_bytes"] / there)
        return train(run, task["lock"], Allocated())
    live = LiveStorages()
    for tensor in tensors_here():
        live.ignore(tensor)
    return train(run, task["lock"], Counted(live), live)


def train(
    run: RunSpec,
    lock: str,
    peaks: Allocated | Counted,
    live: LiveStorages | None = None,
) -> dict[str, Any]:
    """Take the steps, and validate.

    Args:
        run: The training.
        lock: File of which a lock is held while something is measured.
        peaks: What measures the memory.
        live: What counts tensors on CPUs.
    """
    passes = WatchedPasses(peaks)
    trainer = build_trainer(run, run.deepspeed, passes)
    if live:
        gc.collect()
        for tensor in tensors_here():
            live.count(tensor)
        # What was there for a moment meanwhile was not counted.
        live.restart()
    else:
        passes.held |= PEAKS.bytes
        # What was checked since belongs to no phase.
        passes.peaks.take()
    shape = (run.plan.micro_batch_size, run.plan.sequence_length)
    ids = np.random.default_rng(0).integers(1, 500, shape)
    batch = Batch(ids, np.tile(np.arange(shape[1]), (shape[0], 1)), ids)
    batches = [batch] * run.plan.gradient_accumulation_steps
    num_labels = len(batches) * ids.size
    seconds = []
    with locked(lock), live if live is not None else nullcontext():
        for _ in range(STEPS[run.plan.accelerator]):
            start = time.perf_counter()
            trainer.train_batch(batches, num_labels, RATE).item()
            seconds.append(time.perf_counter() - start)
        passes.peaks.take()
        trainer.mean_loss([batch])
        passes.note("validation")
        workspaces = {} if live else allocated_without_workspaces()
    return {"held": passes.held, "seconds": seconds, **workspaces}


@contextmanager
def locked(file: str) -> Iterator[None]:
    """Hold the lock of a file; other processes wait for it."""
    with Path(file).open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def allocated_without_workspaces() -> dict[str, int]:
    """Return what tensors take of the GPU, with and without workspaces of cuBLAS.

    What is cached is given back as well, for the process that takes its steps next.
    """
    allocated: int = torch.cuda.memory_allocated()
    found = {"allocated bytes": allocated}
    if clear := getattr(torch._C, "_cuda_clearCublasWorkspaces", None):
        clear()
        found["without workspaces"] = torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    return found


def tensors_here() -> list[torch.Tensor]:
    """Return the tensors in main memory that Python knows."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, torch.Tensor) and each.device.type == "cpu"
    ]
