"""How a run saves: all ranks write a checkpoint, and it is published once hashed."""

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import deepspeed
import deepspeed.comm as dist

from retune.artifacts.checkpoint_manifest import CheckpointManifest, SavedFile
from retune.artifacts.checkpoint_weights import CheckpointWeights
from retune.artifacts.plan import Plan
from retune.artifacts.publishing import sha256, sync
from retune.checkpoints.checkpoint_files import UNFINISHED, best_of, find_checkpoints
from retune.checkpoints.checkpoint_progress import CheckpointProgress
from retune.checkpoints.full_disk import full_disk_explained

log = logging.getLogger("retune")


class Checkpoints:
    """The checkpoints of one run: `state/step-00000050/` and so on.

    All ranks write into a folder whose name begins with a dot. Each rank hashes some of
    its files while the training goes on. Then rank 0 writes the manifest and renames
    the folder, so a checkpoint is either complete or not there. The newest folder is
    the latest checkpoint: DeepSpeed's own file `latest` is not written, as it can name
    a checkpoint that other ranks have not finished.
    """

    def __init__(self, state: Path, keep: int) -> None:
        """Keep the newest checkpoints of a run.

        Args:
            state: Folder of the run, which exists.
            keep: Number of newest checkpoints that are kept.
        """
        self.state = state
        self.keep = keep
        self._hasher = ThreadPoolExecutor(max_workers=1)
        # Both are None unless a checkpoint was written that is not published yet.
        self._hashes: Future[list[SavedFile]] | None = None
        self._manifest: CheckpointManifest | None = None

    def save(
        self,
        engine: deepspeed.DeepSpeedEngine,
        weights: CheckpointWeights,
        plan: Plan,
        progress: CheckpointProgress,
    ) -> None:
        """Write a checkpoint, which `publish` publishes; all ranks must call this.

        Args:
            engine: The engine whose module and optimizer are saved.
            weights: What its weights are.
            plan: The plan of the training.
            progress: How far the training is.

        Raises:
            RetuneError: If the disk is full; earlier checkpoints stay.
        """
        self.publish()
        stage = self._stage(progress.step)
        if dist.get_rank() == 0:
            # A killed process may have left one half written.
            for leftover in self.state.glob(f"{UNFINISHED}*"):
                shutil.rmtree(leftover)
        dist.barrier()
        with full_disk_explained(stage):
            engine.save_checkpoint(
                str(self.state),
                tag=stage.name,
                save_latest=False,
                exclude_frozen_parameters=weights.lora is not None,
            )
            if dist.get_rank() == 0:
                weights.write(stage)
        dist.barrier()
        self._manifest = CheckpointManifest(
            run=self.state.name,
            step=progress.step,
            skipped=progress.skipped,
            validation_loss=progress.validation_loss,
            world_size=plan.world_size,
            zero_stage=plan.zero_stage,
            pipeline_stages=plan.pipeline_stages,
            precision=plan.precision,
            files=(),
        )
        self._hashes = self._hasher.submit(
            hash_some_files, stage, dist.get_rank(), dist.get_world_size()
        )

    @property
    def is_hashing(self) -> bool:
        """Whether this rank still reads what was saved."""
        return self._hashes is not None and not self._hashes.done()

    @property
    def is_unpublished(self) -> bool:
        """Whether a checkpoint is to be published; the same on all ranks."""
        return self._hashes is not None

    def publish(self) -> None:
        """Publish what was saved, if anything, and remove the oldest checkpoints.

        All ranks must call this; it waits until the last of them has hashed its files.
        """
        hashes, manifest = self._hashes, self._manifest
        if hashes is None or manifest is None:
            return
        stage = self._stage(manifest.step)
        with full_disk_explained(stage):
            of_ranks: list[list[SavedFile]] = [[]] * dist.get_world_size()
            dist.all_gather_object(of_ranks, hashes.result())
            self._hashes = self._manifest = None
            if dist.get_rank() == 0:
                files = sorted(chain(*of_ranks), key=lambda file: file.path)
                manifest.model_copy(update={"files": tuple(files)}).write(stage)
                self._replace(stage, self.state / f"step-{manifest.step:08d}")
                log.info("step %d: saved", manifest.step)
        dist.barrier()

    def _stage(self, step: int) -> Path:
        """Return the folder in which the checkpoint of a step is written."""
        return self.state / f"{UNFINISHED}{step:08d}"

    def _replace(self, stage: Path, published: Path) -> None:
        """Give a checkpoint its name, and remove those that are no longer kept."""
        # The run would have been resumed at a checkpoint of this step or a later one
        # if that were good: a damaged one must not count among those that are kept.
        for damaged in find_checkpoints(self.state):
            if damaged >= published:
                shutil.rmtree(damaged)
        stage.rename(published)
        sync(self.state)
        folders = find_checkpoints(self.state)
        for old in folders[: -self.keep]:
            if old != best_of(folders):
                # Under the new name, what a kill leaves of it is no checkpoint.
                rest = old.rename(old.with_name(f".{old.name}"))
                shutil.rmtree(rest)


def hash_some_files(folder: Path, rank: int, world_size: int) -> list[SavedFile]:
    """Return the files of a folder that a rank hashes: every `world_size`-th one."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = []
    for path in paths[rank::world_size]:
        sync(path)
        name = path.relative_to(folder).as_posix()
        files.append(SavedFile(name, path.stat().st_size, sha256(path)))
    return files
