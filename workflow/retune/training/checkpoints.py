"""Checkpoints under state/: complete or not there, verified before they are used."""

import logging
import shutil
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from deepspeed.accelerator import get_accelerator
from safetensors.torch import load_file, save_file

from retune.publishing import MANIFEST, read_json, sha256, sync, write_json
from retune.training.checkpoint_files import WEIGHTS, find_checkpoints, newest_good
from retune.training.tensor_hashes import tensor_sha256

log = logging.getLogger("retune")


class Checkpoints:
    """The checkpoints of one run: `state/step-00000050/` and so on.

    All ranks write into a temporary folder; each hashes a part of the files; rank 0
    writes the manifest and renames the folder. DeepSpeed's own `latest` is not used:
    it can point at a checkpoint that other ranks have not finished.
    """

    def __init__(self, state: Path, keep: int) -> None:
        """Work in `state`, which exists; keep the newest `keep` checkpoints."""
        self.state = state
        self.keep = keep

    def save(
        self,
        engine: deepspeed.DeepSpeedEngine,
        step: int,
        weights: dict[str, Any] | None = None,
    ) -> None:
        """Publish a checkpoint of this step and drop the oldest ones.

        Args:
            engine: Its module, optimizer and this rank's random state are saved.
            step: Optimizer steps done.
            weights: What `weight_hashes` returned, for the last checkpoint.
        """
        stage = self.state / f".step-{step:08d}"
        published = self.state / f"step-{step:08d}"
        if dist.get_rank() == 0:
            # What a killed try left half-written, or what was found damaged.
            for leftover in (*self.state.glob(".step-*"), published):
                shutil.rmtree(leftover, ignore_errors=True)
        dist.barrier()
        engine.save_checkpoint(str(self.state), tag=stage.name, save_latest=False)
        save_random_state(stage)
        if weights is not None and dist.get_rank() == 0:
            write_json(stage / WEIGHTS, weights)
        dist.barrier()
        files = hash_together(stage)
        if dist.get_rank() == 0:
            manifest = {"step": step, "world_size": dist.get_world_size()}
            write_json(stage / MANIFEST, {**manifest, "files": files})
            stage.rename(published)
            sync(self.state)
            for old in find_checkpoints(self.state)[: -self.keep]:
                shutil.rmtree(old)
        dist.barrier()

    def resume(self, engine: deepspeed.DeepSpeedEngine) -> int:
        """Load the newest good checkpoint; return the steps done, 0 without one."""
        choice: list[str | None] = [None]
        if dist.get_rank() == 0:
            good = newest_good(self.state)
            choice = [good.name if good else None]
        dist.broadcast_object_list(choice, src=0)
        if choice[0] is None:
            return 0
        folder = self.state / choice[0]
        path, _ = engine.load_checkpoint(str(self.state), tag=folder.name)
        assert path is not None, f"DeepSpeed did not load {folder}"
        load_random_state(folder)
        log.info("resumed from %s", folder)
        return read_json(folder / MANIFEST)["step"]


def hash_together(folder: Path) -> list[dict[str, Any]]:
    """Return path, size and sha256 of every file; the ranks share the work."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    mine = []
    for path in paths[dist.get_rank() :: dist.get_world_size()]:
        sync(path)
        mine.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "sha256": sha256(path),
            }
        )
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return sorted((f for part in parts for f in part), key=lambda f: f["path"])


def save_random_state(folder: Path) -> None:
    """Write this rank's random states, which DeepSpeed does not save."""
    states = {"cpu": torch.get_rng_state()}
    if on_gpu():
        states["cuda"] = torch.cuda.get_rng_state()
    save_file(states, folder / f"random-rank{dist.get_rank()}.safetensors")


def load_random_state(folder: Path) -> None:
    """Restore this rank's random states."""
    states = load_file(folder / f"random-rank{dist.get_rank()}.safetensors")
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def on_gpu() -> bool:
    """Return whether DeepSpeed computes on a GPU; one may be there and not be used."""
    return get_accelerator().device_name() == "cuda"


def weight_hashes(engine: deepspeed.DeepSpeedEngine) -> dict[str, Any]:
    """Return the live weights' dtype, shape and sha256, and which are tied to which.

    Under ZeRO-3 every rank must call this: parameters are gathered one at a time.
    """
    tensors, tied = {}, {}
    first_name: dict[int, str] = {}
    for name, parameter in engine.module.named_parameters(remove_duplicate=False):
        if id(parameter) in first_name:
            tied[name] = first_name[id(parameter)]
            continue
        first_name[id(parameter)] = name
        with deepspeed.zero.GatheredParameters(
            [parameter], enabled=hasattr(parameter, "ds_id")
        ):
            tensors[name] = describe_tensor(parameter)
    persistent = engine.module.state_dict().keys()
    for name, buffer in engine.module.named_buffers():
        if name in persistent:
            tensors[name] = describe_tensor(buffer)
    return {"tensors": tensors, "tied": tied}


def describe_tensor(tensor: torch.Tensor) -> dict[str, Any]:
    """Return a tensor's dtype, shape and sha256."""
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "sha256": tensor_sha256(tensor),
    }
