"""Resuming a run at its newest good checkpoint, also on another number of ranks."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import deepspeed.comm as dist

from retune.artifacts.checkpoint_manifest import CheckpointManifest
from retune.artifacts.checkpoint_weights import CheckpointWeights
from retune.artifacts.plan import Plan
from retune.checkpoints.checkpoint_files import newest_good
from retune.checkpoints.live_weights import live_weights
from retune.compat.deepspeed_nvme import load_swapped
from retune.compat.deepspeed_universal import (
    convert_to_universal,
    mend_universal,
    own_options,
)
from retune.engines.trainers import Trainer
from retune.errors import RetuneError

log = logging.getLogger("retune")

# Beginning of the name of a converted checkpoint.
UNIVERSAL = ".universal-"


@dataclass(frozen=True)
class Resume:
    """What a run is resumed from.

    Attributes:
        checkpoint: Folder of the checkpoint.
        folder: Folder to load: the checkpoint, or its universal form for another
            number of ranks.
        step: Number of optimizer steps done.
        skipped: Number of steps that were skipped until then.
        saved_on: Number of ranks that saved it.
    """

    checkpoint: Path
    folder: Path
    step: int
    skipped: int
    saved_on: int

    @property
    def is_universal(self) -> bool:
        """Whether the checkpoint was converted."""
        return self.folder != self.checkpoint


def find_resume(state: Path, plan: Plan) -> Resume | None:
    """Return what to resume from, None for a new run; the same on all ranks.

    Rank 0 verifies and converts; the others wait for it.

    Raises:
        RetuneError: On all ranks, if the checkpoints are damaged or cannot be loaded.
    """
    found: list[Resume | RetuneError | None] = [None]
    if dist.get_rank() == 0:
        try:
            found = [choose(state, plan)]
        except RetuneError as error:
            found = [error]
    dist.broadcast_object_list(found, src=0)
    (resume,) = found
    if isinstance(resume, RetuneError):
        raise resume
    return resume


def choose(state: Path, plan: Plan) -> Resume | None:
    """Return the newest good checkpoint in a form that the ranks can load."""
    for leftover in state.glob(f"{UNIVERSAL}*"):
        # A killed process left it, and the conversion that it started may still go on.
        shutil.rmtree(leftover, ignore_errors=True)
    folder = newest_good(state)
    if folder is None:
        return None
    manifest = CheckpointManifest.read(folder)
    step, skipped, saved_on = manifest.step, manifest.skipped, manifest.world_size
    if saved_on == plan.world_size or plan.zero_stage == 0:
        log.info("resuming from %s", folder)
        return Resume(folder, folder, step, skipped, saved_on)
    if setting := keeps_number_of_ranks(plan):
        raise RetuneError(
            f"{folder} was saved on {saved_on} ranks, the plan is for"
            f" {plan.world_size}: with {setting} a run can be resumed on the"
            " same number only; give it as many, or remove the folder to train from the"
            " first step"
        )
    log.info(
        "resuming from %s, saved on %d ranks: converting it for %d",
        *(folder, saved_on, plan.world_size),
    )
    return Resume(folder, convert(folder), step, skipped, saved_on)


def keeps_number_of_ranks(plan: Plan) -> str:
    """Return the setting of which DeepSpeed has no universal checkpoint; else ""."""
    if plan.offload_optimizer == "nvme":
        return "configure.offload_optimizer: nvme"
    # It would look for moments of one number per parameter.
    if plan.optim == "adamw_8bit":
        return "configure.optim: adamw_8bit"
    # It would take the shards for those of parameters in their order.
    return "round_robin_gradients" if plan.round_robin_gradients else ""


def convert(folder: Path) -> Path:
    """Return a copy of a checkpoint in DeepSpeed's universal form, beside it.

    Raises:
        RetuneError: If DeepSpeed cannot convert it.
    """
    target = folder.with_name(f"{UNIVERSAL}{os.getpid()}-{folder.name}")
    result = convert_to_universal(folder, target)
    if result.returncode:
        log.error("%s", result.stderr)
        problem = (result.stderr.strip() or str(result.returncode)).splitlines()[-1]
        raise RetuneError(
            f"{folder}: DeepSpeed could not convert it for another number of ranks"
            f" ({problem}); resume on the number that"
            " saved it, or remove the folder to train from the first step"
        )
    return target


def load(trainer: Trainer, resume: Resume) -> None:
    """Load weights, optimizer and counters into a trainer's engine.

    Raises:
        RetuneError: On all ranks, if the weights are not those that were saved.
    """
    engine = trainer.engine
    options = own_options(engine)
    # A checkpoint of a model with adapters leaves out what is frozen.
    has_adapters = hasattr(engine.module, "peft_config")
    path, _ = engine.load_checkpoint(
        str(resume.folder.parent),
        tag=resume.folder.name,
        load_module_strict=not has_adapters,
    )
    assert path is not None, f"DeepSpeed did not load {resume.folder}"
    load_swapped(engine, resume.folder)
    if resume.is_universal:
        mend_universal(engine, options)
        dist.barrier()
        if dist.get_rank() == 0:
            shutil.rmtree(resume.folder)
    live = live_weights(trainer, earlier={})
    saved = CheckpointWeights.read(resume.checkpoint).tensors
    if wrong := [name for name, weight in live.items() if weight != saved[name]]:
        raise RetuneError(
            f"{resume.checkpoint}: after loading, {len(wrong)} weights are not those"
            f" that were saved, {wrong[0]} the first; remove the folder to train from"
            " the first step"
        )
