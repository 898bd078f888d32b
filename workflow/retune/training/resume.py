"""Going on where an earlier try stopped, also on another number of ranks."""

import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deepspeed
import deepspeed.comm as dist
import torch

from retune.errors import RetuneError
from retune.publishing import MANIFEST, read_json
from retune.training.checkpoint_files import WEIGHTS, newest_good
from retune.training.live_weights import describe_weights
from retune.training.nvme import load_swapped

if TYPE_CHECKING:
    from retune.training.trainers import Trainer

log = logging.getLogger("retune")

UNIVERSAL = ".universal-"


@dataclass(frozen=True)
class Resume:
    """What to load.

    Attributes:
        checkpoint: The checkpoint.
        folder: The same, or its universal form for another number of ranks.
        step: Optimizer steps done.
        skipped: Steps that were skipped until then.
        saved_on: Number of ranks that saved it.
    """

    checkpoint: Path
    folder: Path
    step: int
    skipped: int
    saved_on: int

    @property
    def is_universal(self) -> bool:
        """Whether it was converted."""
        return self.folder != self.checkpoint


def find_resume(state: Path, plan: dict[str, Any]) -> Resume | None:
    """Return what to resume from, None for a new run; the same on all ranks.

    Rank 0 verifies and converts; the others wait for it.
    """
    answer: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            answer = [choose(state, plan), None]
        except RetuneError as error:
            answer = [None, str(error)]
    dist.broadcast_object_list(answer, src=0)
    resume, problem = answer
    if problem:
        raise RetuneError(problem)
    return resume


def choose(state: Path, plan: dict[str, Any]) -> Resume | None:
    """Return the newest good checkpoint in a form that the ranks can load."""
    for leftover in state.glob(f"{UNIVERSAL}*"):
        # Of a killed try, whose conversion may still go on.
        shutil.rmtree(leftover, ignore_errors=True)
    folder = newest_good(state)
    if folder is None:
        return None
    manifest = read_json(folder / MANIFEST)
    step, saved_on = manifest["step"], manifest["world_size"]
    skipped = manifest["skipped"]
    if saved_on == plan["world_size"] or plan["zero_stage"] == 0:
        log.info("resuming from %s", folder)
        return Resume(folder, folder, step, skipped, saved_on)
    if plan["offload_optimizer"] == "nvme":
        raise RetuneError(
            f"{folder} was saved on {saved_on} ranks, the plan is for"
            f" {plan['world_size']}: with configure.offload_optimizer: nvme a run can"
            " be resumed on the same number only"
        )
    log.info(
        "resuming from %s, saved on %d ranks: converting it for %d",
        *(folder, saved_on, plan["world_size"]),
    )
    return Resume(folder, convert(folder), step, skipped, saved_on)


def convert(folder: Path) -> Path:
    """Return a copy of a checkpoint in DeepSpeed's universal form, beside it."""
    target = folder.with_name(f"{UNIVERSAL}{os.getpid()}-{folder.name}")
    command = [
        *[sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"],
        *["--input_folder", str(folder), "--output_folder", str(target)],
        *["--inject_missing_state", "--num_extract_workers", "2"],
        *["--num_merge_workers", "2"],
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        log.error("%s", result.stderr)
        problem = (result.stderr.strip() or str(result.returncode)).splitlines()[-1]
        raise RetuneError(
            f"{folder}: DeepSpeed could not convert it for another number of ranks"
            f" ({problem}); resume on the number that"
            " saved it, or remove the folder to train from the first step"
        )
    return target


def load(trainer: "Trainer", resume: Resume) -> None:
    """Load weights, optimizer and counters into a trainer's engine.

    Raises:
        RetuneError: If the weights are not those that were saved, on all ranks.
    """
    engine = trainer.engine
    options = [own_options(group) for group in engine.optimizer.param_groups]
    # With adapters a checkpoint leaves out what is frozen.
    has_adapters = hasattr(engine.module, "peft_config")
    path, _ = engine.load_checkpoint(
        str(resume.folder.parent),
        tag=resume.folder.name,
        load_module_strict=not has_adapters,
    )
    assert path is not None, f"DeepSpeed did not load {resume.folder}"
    if engine.zero_nvme_offload_optimizer():
        load_swapped(engine, resume.folder)
    if resume.is_universal:
        mend_universal(engine, options)
        dist.barrier()
        if dist.get_rank() == 0:
            shutil.rmtree(resume.folder)
    live = describe_weights(trainer)
    saved = read_json(resume.checkpoint / WEIGHTS)["tensors"]
    if wrong := [name for name, tensor in live.items() if tensor != saved[name]]:
        raise RetuneError(
            f"{resume.checkpoint}: after loading, {len(wrong)} weights are not those"
            f" that were saved, {wrong[0]} the first; remove the folder to train from"
            " the first step"
        )


def own_options(group: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter group's options without its parameters."""
    return {key: value for key, value in group.items() if key != "params"}


def mend_universal(
    engine: deepspeed.DeepSpeedEngine, options: list[dict[str, Any]]
) -> None:
    """Undo what DeepSpeed 0.19 gets wrong when it loads a universal ZeRO-3 checkpoint.

    All parameter groups get the options of the first: weight decay for what should
    have none. And they share one tensor that counts Adam's steps, on the CPU: with two
    groups it counts twice as fast, and fused AdamW wants it beside its parameter.

    Args:
        engine: After loading.
        options: Of its parameter groups, from before.
    """
    for group, own in zip(engine.optimizer.param_groups, options, strict=True):
        group.update(own)
    for parameter, state in engine.optimizer.optimizer.state.items():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].to(parameter.device, copy=True)
