"""What goes wrong in a real rank, for tests: where it kills itself, and other faults.

A fault is a dict: `name`, `rank`, `step` and what else the name needs. All of it is
patched in the rank's process; the code that trains knows nothing of it.
"""

import io
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from retune.artifacts.checkpoint_manifest import CheckpointManifest
from retune.artifacts.checkpoint_weights import CheckpointWeights
from retune.checkpoints import checkpoint_writer as checkpoints
from retune.checkpoints.checkpoint_writer import Checkpoints
from retune.engines import data_parallel, pipeline
from retune.engines.pipeline_layers import StagedModel
from retune.measuring.history import History
from retune.supervision.heartbeat import Heartbeat
from retune.training import loop, saver

SHARD = "optim_states.pt"
PATIENCE_S = 30


def die() -> None:
    """End this process as the kernel does when memory is out."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(PATIENCE_S)  # it comes at once, but not always before the next line


@contextmanager
def installed(fault: dict[str, Any] | None) -> Iterator[None]:
    """Have the fault in this process."""
    with ExitStack() as patches:
        if fault:
            at = Place(patches, fault)
            FAULTS[fault["name"]](at)
        yield


class Place:
    """Patches of this process, and whether the fault is due."""

    def __init__(self, patches: ExitStack, fault: dict[str, Any]) -> None:
        """Follow the training's steps; `fault` says on which rank and when."""
        self.fault = fault
        self.is_mine = int(os.environ["RANK"]) == fault["rank"]
        self.step = 0  # the one that is taken or was taken last, counted from 1
        self._patches = patches
        seed_of = loop.seed_of

        def follow(seed: int, rank: int, step: int) -> int:
            self.step = step + 1
            return seed_of(seed, rank, step)

        self.replace(loop, "seed_of", follow)

    @property
    def is_due(self) -> bool:
        """Whether this rank is the one, at its step or later."""
        return self.is_mine and self.step >= self.fault["step"]

    def replace(self, owner: Any, name: str, value: Any) -> Any:
        """Patch an attribute; return what it was."""
        original = getattr(owner, name)
        self._patches.enter_context(patch.object(owner, name, value))
        return original

    def before(self, owner: Any, name: str, act: Any) -> None:
        """Call `act` with a function's arguments before it, when the fault is due."""
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.is_due:
                act(*args, **kwargs)
            return original(*args, **kwargs)

        self.replace(owner, name, wrapper)


def before_save(at: Place) -> None:
    at.before(Checkpoints, "save", lambda *_: die())


def between_shards(at: Place) -> None:
    """Die when another rank has written its shard and this one has not."""

    def act(_: Any, path: str, **__: Any) -> None:
        if not path.endswith(SHARD):
            return
        deadline = time.monotonic() + PATIENCE_S
        while not (others := list(Path(path).parent.glob(f"*{SHARD}"))):
            assert time.monotonic() < deadline, "no other rank writes a shard"
            time.sleep(0.01)
        size = -1
        while size != (size := others[0].stat().st_size):
            time.sleep(0.2)
        die()

    at.before(torch, "save", act)


def half_a_shard(at: Place) -> None:
    save = torch.save

    def act(state: Any, path: str, **_: Any) -> None:
        if path.endswith(SHARD):
            whole = io.BytesIO()
            save(state, whole)
            Path(path).write_bytes(whole.getvalue()[: whole.tell() // 2])
            die()

    at.before(torch, "save", act)


def before_file(artifact: type) -> Any:
    """Return a fault: rank 0 dies before it writes a file of the checkpoint."""

    def fault(at: Place) -> None:
        at.before(artifact, "write", lambda *_: die())

    return fault


def while_hashing(at: Place) -> None:
    """Die with one file read and others not."""
    seen: list[Path] = []

    def act(path: Path) -> None:
        seen.append(path)
        if len(seen) > 1:
            die()

    at.before(checkpoints, "sha256", act)


def before_rename(at: Place) -> None:
    at.before(Checkpoints, "_replace", lambda *_: die())


def after_rename(at: Place) -> None:
    """Die with the new checkpoint published and no old one dropped."""
    at.before(checkpoints, "best_of", lambda _: die())


def half_dropped(at: Place) -> None:
    """Die with half the files of an old checkpoint removed."""

    def act(folder: Path, **_: Any) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files[: len(files) // 2]:
            path.unlink()
        die()

    at.before(shutil, "rmtree", act)


def at_validation(at: Place) -> None:
    for trainer in (data_parallel.DataParallel, pipeline.Pipeline):
        at.before(trainer, "mean_loss", lambda *_: die())


def before_publish(at: Place) -> None:
    """Die with the step's checkpoint written, its hashes not asked for."""

    def act(checkpoints: Checkpoints) -> None:
        if checkpoints.is_unpublished and at.step == checkpoints._manifest.step:
            die()

    at.before(Checkpoints, "publish", act)


def after_everything(at: Place) -> None:
    at.before(History, "finish", lambda *_, **__: die())


def nan_weight(at: Place) -> None:
    """Spoil a weight before it is hashed for a checkpoint."""

    def act(trainer: Any, _: Any) -> None:
        with torch.no_grad():
            next(trainer.engine.module.parameters()).view(-1)[3] = float("nan")

    at.before(saver, "checkpoint_weights", act)


def full_disk(at: Place) -> None:
    """Have the kernel refuse more than a few kB per file from this save on."""

    def act(*_: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    at.before(Checkpoints, "save", act)


def nan_loss(at: Place) -> None:
    """Make this rank's loss NaN in the steps `steps`.

    In a pipeline that is the last stage's.
    """

    def spoiled(loss: torch.Tensor) -> torch.Tensor:
        is_spoiled = at.is_mine and at.step in at.fault["steps"]
        training = torch.is_grad_enabled()
        return loss * float("nan") if is_spoiled and training else loss

    own = data_parallel.DataParallel.loss_sum
    at.replace(
        data_parallel.DataParallel,
        "loss_sum",
        lambda self, batch: spoiled(own(self, batch)),
    )
    staged = StagedModel.loss
    at.replace(
        StagedModel,
        "loss",
        lambda self, hidden, target: spoiled(staged(self, hidden, target)),
    )


def validation_losses(at: Place) -> None:
    """Have the validations of `losses`: step -> loss, on all ranks."""
    losses = {int(step): loss for step, loss in at.fault["losses"].items()}
    at.replace(data_parallel.DataParallel, "mean_loss", lambda *_: losses[at.step])


def phases(at: Place) -> None:
    """Write a line into the file `at` for each sign of life: the rank's phase."""

    def act(heartbeat: Heartbeat) -> None:
        with Path(at.fault["at"]).open("a") as file:
            file.write(f"{heartbeat._phase}\n")

    at.before(Heartbeat, "go_on", act)


# Where a rank kills itself, in the order of a checkpoint's life.
FATAL = {
    "before a save": before_save,
    "between shards": between_shards,
    "half a shard": half_a_shard,
    "before weights.json": before_file(CheckpointWeights),
    "while hashing": while_hashing,
    "before the manifest": before_file(CheckpointManifest),
    "before the rename": before_rename,
    "after the rename": after_rename,
    "half dropped": half_dropped,
    "at a validation": at_validation,
    "before the last is published": before_publish,
    "after everything": after_everything,
}
FAULTS = {
    **FATAL,
    "nan weight": nan_weight,
    "full disk": full_disk,
    "nan loss": nan_loss,
    "validation losses": validation_losses,
    "phases": phases,
}
