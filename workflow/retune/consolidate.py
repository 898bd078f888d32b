"""The step `consolidate`: a checkpoint's shards to one model, verified."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from safetensors import safe_open
from safetensors.torch import save_file

from retune.errors import RetuneError
from retune.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    write_json,
    write_manifest,
)
from retune.settings import ConsolidateSettings
from retune.training.checkpoint_files import WEIGHTS, find_damage
from retune.training.tensor_hashes import tensor_sha256

log = logging.getLogger(__name__)

GB = 1e9


def run(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the tuned weights, in the precision they were trained in.

    Every tensor is read back from the published files and compared with the hash that
    the ranks took of the live weight at the end of training. Tied weights are stored
    once, as transformers expects.
    """
    if damage := find_damage(checkpoint):
        raise RetuneError(f"{checkpoint}: {damage}; rerun finetune")
    weights = read_json(checkpoint / WEIGHTS)
    shards = plan_shards(weights["tensors"], int(settings.max_shard_size_gb * GB))
    state = read_weights(checkpoint)
    with published_folder(consolidated) as stage:
        copy_all_but_weights(base, stage)
        for file, names in shards.items():
            write_shard(stage / file, names, state, weights["tensors"])
            verify_shard(stage / file, weights["tensors"])
        write_index(stage, shards, weights["tensors"])
        record_dtype(stage / "config.json", weights["tensors"])
        write_manifest(stage)
    num_bytes = sum(map(size_of, weights["tensors"].values()))
    return (
        f"{len(weights['tensors'])} tensors, {num_bytes / 1e6:,.1f} MB, all equal to"
        " the live weights"
    )


def read_weights(checkpoint: Path) -> dict[str, Any]:
    """Return name -> tensor, or a lazy tensor that joins its ZeRO shards when asked."""
    if any(checkpoint.glob("*_optim_states.pt")):
        return get_fp32_state_dict_from_zero_checkpoint(
            str(checkpoint.parent), tag=checkpoint.name, lazy_mode=True
        )
    # Stage 0: nothing is sharded. A pickle, but one of ours: its hash was just checked.
    path = checkpoint / "mp_rank_00_model_states.pt"
    return torch.load(path, map_location="cpu", mmap=True, weights_only=False)["module"]


def plan_shards(tensors: dict[str, Any], max_bytes: int) -> dict[str, list[str]]:
    """Return file name -> tensor names, each file at most `max_bytes`."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = size_of(tensor)
        if groups[-1] and filled + size > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {
        f"model-{number:05d}-of-{len(groups):05d}.safetensors": names
        for number, names in enumerate(groups, start=1)
    }


def size_of(tensor: dict[str, Any]) -> int:
    """Return the bytes of a tensor described by dtype and shape."""
    dtype = getattr(torch, tensor["dtype"])
    return torch.Size(tensor["shape"]).numel() * dtype.itemsize


def write_shard(
    path: Path, names: list[str], state: dict[str, Any], tensors: dict[str, Any]
) -> None:
    """Write one safetensors file; only its own tensors are in memory."""
    missing = [name for name in names if name not in state]
    if missing:
        raise RetuneError(f"the checkpoint lacks {', '.join(missing)}; rerun finetune")
    shard = {
        # A lazy tensor becomes a real one by contiguous().
        name: state[name]
        .contiguous()
        .to(getattr(torch, tensors[name]["dtype"]))
        .clone()
        for name in names
    }
    save_file(shard, path, metadata={"format": "pt"})


def verify_shard(path: Path, tensors: dict[str, Any]) -> None:
    """Raise RetuneError if a tensor on disk is not the live weight, bit for bit."""
    wrong = [
        name
        for name, tensor in read_shard(path)
        if tensor_sha256(tensor) != tensors[name]["sha256"]
    ]
    if wrong:
        raise RetuneError(
            f"{path.name}: {', '.join(wrong)} differ from the weights at the end of"
            " training; nothing was published"
        )


def read_shard(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of a safetensors file, one at a time."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a dict
            yield name, file.get_tensor(name)


def copy_all_but_weights(base: Path, folder: Path) -> None:
    """Copy config and tokenizer of the base model."""
    for path in sorted(base.iterdir()):
        is_other = ".safetensors" in path.name or path.name[0] == "."
        if path.is_file() and not is_other and path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)


def write_index(
    folder: Path, shards: dict[str, list[str]], tensors: dict[str, Any]
) -> None:
    """Write the index that transformers needs beside several shards."""
    if len(shards) == 1:
        return
    weight_map = {name: file for file, names in shards.items() for name in names}
    total = sum(map(size_of, tensors.values()))
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )


def record_dtype(config: Path, tensors: dict[str, Any]) -> None:
    """Tell transformers the dtype of the published weights."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("torch_dtype", None)
    values["dtype"] = next(iter(tensors.values()))["dtype"]
    write_json(config, values)
