"""When a training saves, what it saves, and when it stops because it was asked to."""

import time
from collections.abc import Callable
from pathlib import Path

from retune.artifacts.checkpoint_weights import CheckpointWeights
from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.checkpoint_progress import CheckpointProgress
from retune.checkpoints.checkpoint_writer import Checkpoints
from retune.checkpoints.live_weights import checkpoint_weights
from retune.engines.trainers import Trainer, any_rank
from retune.measuring.device_memory import PEAKS
from retune.supervision.heartbeat import Heartbeat
from retune.supervision.stopping import StopRequest


class Saver:
    """Saves a training every `save_steps`, after its last step, and before a stop.

    A checkpoint is written at once and hashed beside the training. It is published when
    all ranks have hashed it.

    Attributes:
        must_stop: Whether any rank was asked to stop; the same on all ranks.
        seconds: Time for which the last call of `after_step` held the training up.
    """

    def __init__(
        self,
        run: RunSpec,
        state: Path,
        trainer: Trainer,
        stop: StopRequest,
        heartbeat: Heartbeat,
        sync_history: Callable[[], None],
    ) -> None:
        """Save into a folder.

        Args:
            run: The training.
            state: Folder of its checkpoints.
            trainer: Trainer with the model.
            stop: Whether this rank was asked to stop.
            heartbeat: Heartbeat of this rank.
            sync_history: Function that forces the history to disk.
        """
        self.must_stop = False
        self.seconds = 0.0
        self._run = run
        self._trainer = trainer
        self._stop = stop
        self._heartbeat = heartbeat
        self._sync_history = sync_history
        self._checkpoints = Checkpoints(state, run.settings.save_total_limit)
        self._weights: CheckpointWeights | None = None
        self._is_hashing = False

    def ask_ranks(self) -> None:
        """Learn from all ranks whether to stop and whether one is still hashing.

        All ranks must call this.
        """
        self.must_stop, self._is_hashing = any_rank(
            self._trainer.engine, self._stop.requested, self._checkpoints.is_hashing
        )

    def after_step(self, progress: CheckpointProgress, is_last: bool) -> None:
        """Save if it is due; else publish what was saved before, once it is hashed.

        All ranks must call this, after `ask_ranks`.

        Args:
            progress: How far the training is.
            is_last: Whether this was the last step of the run.
        """
        start = time.perf_counter()
        is_due = progress.step % self._run.settings.save_steps == 0
        if is_last or self.must_stop or is_due:
            self._save(progress)
        elif self._checkpoints.is_unpublished and not self._is_hashing:
            self._checkpoints.publish()
        self.seconds = time.perf_counter() - start

    def publish(self) -> None:
        """Wait until what was saved is hashed, and publish it; all ranks must call."""
        self._checkpoints.publish()

    def _save(self, progress: CheckpointProgress) -> None:
        self._heartbeat.beat(progress.step, "saving")
        self._sync_history()
        # An error from here on must not cost what was saved before.
        self._checkpoints.publish()
        with PEAKS.interrupt_training("save"):
            self._weights = checkpoint_weights(self._trainer, self._weights)
            self._checkpoints.save(
                self._trainer.engine, self._weights, self._run.plan, progress
            )
