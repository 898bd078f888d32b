"""Checkpoints under state/: complete or not there, verified before they are used."""

import errno
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist

from retune.errors import RetuneError
from retune.publishing import (
    FILES,
    MANIFEST,
    sealed_text,
    sha256,
    sync,
    write_json,
    write_text,
)
from retune.training.checkpoint_files import (
    GB,
    UNFINISHED,
    WEIGHTS,
    best_of,
    find_checkpoints,
)

log = logging.getLogger("retune")

# What torch.save says when the disk is full: one of these, by the byte where it is.
NOT_WRITTEN = ("PytorchStreamWriter", "iostream error", "inline_container")


class Checkpoints:
    """The checkpoints of one run: `state/step-00000050/` and so on.

    All ranks write into a folder with a dot before its name; each hashes a part of the
    files, beside the training; then rank 0 writes the manifest and renames the folder.
    The newest folder is the latest checkpoint: DeepSpeed's own file `latest` is not
    written, as it can name one that other ranks have not finished.
    """

    def __init__(self, state: Path, keep: int) -> None:
        """Work in `state`, which exists; keep the newest `keep` checkpoints."""
        self.state = state
        self.keep = keep
        self._hasher = ThreadPoolExecutor(max_workers=1)
        self._hashes: Future[list[dict[str, Any]]] | None = None
        self._manifest: dict[str, Any] = {}

    def save(
        self,
        engine: deepspeed.DeepSpeedEngine,
        weights: dict[str, Any],
        plan: dict[str, Any],
        facts: dict[str, Any],
    ) -> None:
        """Write a checkpoint; `publish` makes it one.

        Args:
            engine: Its module and optimizer are saved.
            weights: The live weights' hashes, and how to put them together.
            plan: What `configure` resolved.
            facts: For the manifest: `step`, the optimizer steps done; `skipped`; and
                `validation_loss`, if there was a validation at this step.

        Raises:
            RetuneError: If the disk is full; earlier checkpoints stay.
        """
        self.publish()
        stage = self.state / f"{UNFINISHED}{facts['step']:08d}"
        if dist.get_rank() == 0:
            # What a killed try left half-written.
            for leftover in self.state.glob(f"{UNFINISHED}*"):
                shutil.rmtree(leftover)
        dist.barrier()
        with full_disk_told(stage):
            engine.save_checkpoint(
                str(self.state),
                tag=stage.name,
                save_latest=False,
                exclude_frozen_parameters="lora" in weights,
            )
            if dist.get_rank() == 0:
                write_json(stage / WEIGHTS, weights)
        dist.barrier()
        layout = ("world_size", "zero_stage", "pipeline_stages", "precision")
        self._manifest = {
            "run": self.state.name,
            **facts,
            **{key: plan[key] for key in layout},
        }
        self._hashes = self._hasher.submit(
            hash_share, stage, dist.get_rank(), dist.get_world_size()
        )

    @property
    def is_hashing(self) -> bool:
        """Whether this rank still reads what was saved."""
        return self._hashes is not None and not self._hashes.done()

    @property
    def is_unpublished(self) -> bool:
        """Whether there is something to publish; the same on all ranks."""
        return self._hashes is not None

    def publish(self) -> None:
        """Publish what was saved, if anything, and drop the oldest checkpoints.

        All ranks must call this; it waits for the last one's hashes.
        """
        if self._hashes is None:
            return
        step = self._manifest["step"]
        stage = self.state / f"{UNFINISHED}{step:08d}"
        with full_disk_told(stage):
            parts: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, self._hashes.result())
            self._hashes = None
            if dist.get_rank() == 0:
                files = sorted(sum(parts, []), key=lambda file: file["path"])
                manifest = sealed_text({**self._manifest, FILES: files})
                write_text(stage / MANIFEST, manifest)
                self._replace(stage, self.state / f"step-{step:08d}")
                log.info("step %d: saved", step)
        dist.barrier()

    def _replace(self, stage: Path, published: Path) -> None:
        # Those of this step and later ones were found damaged, or it would have been
        # resumed there: they must not count among those that are kept.
        for damaged in find_checkpoints(self.state):
            if damaged >= published:
                shutil.rmtree(damaged)
        stage.rename(published)
        sync(self.state)
        folders = find_checkpoints(self.state)
        for old in folders[: -self.keep]:
            if old != best_of(folders):
                # What a kill leaves of it is no checkpoint.
                rest = old.rename(old.with_name(f".{old.name}"))
                shutil.rmtree(rest)


def hash_share(folder: Path, rank: int, world_size: int) -> list[dict[str, Any]]:
    """Return path, size and sha256 of a rank's share of a folder's files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    described = []
    for path in paths[rank::world_size]:
        sync(path)
        described.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "sha256": sha256(path),
            }
        )
    return described


@contextmanager
def full_disk_told(stage: Path) -> Iterator[None]:
    """Turn what DeepSpeed and torch say of a full disk into a sentence."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not is_full_disk(error):
            raise
        free = shutil.disk_usage(stage.parent).free / GB
        shutil.rmtree(stage, ignore_errors=True)
        raise RetuneError(
            f"{stage.parent}: the disk is full ({free:,.1f} GB free), so the checkpoint"
            f" of step {int(stage.name.removeprefix(UNFINISHED))} could not be written;"
            " earlier ones are intact: make room and run again to resume"
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error, or what led to it, says that no more can be written."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError) and error.errno in full:
        return True
    # torch.save's own errors have no errno.
    if isinstance(error, RuntimeError) and any(t in str(error) for t in NOT_WRITTEN):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and is_full_disk(cause)
