"""The step `consolidate`: a checkpoint's shards to one model, verified."""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from retune.artifacts.model_facts import FILE as MODEL_FACTS
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.models.base_weights import BaseWeights
from retune.models.published_weights import Facts, Tensors, published_tensors
from retune.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    write_json,
    write_manifest,
)
from retune.quantities import counted, size
from retune.settings import ConsolidateSettings
from retune.training.adapters import merge_adapters
from retune.training.checkpoint_files import WEIGHTS
from retune.training.shards import find_weights
from retune.training.tensor_hashes import tensor_sha256
from retune.training.weight_files import check, dtype_of, size_of, write_file
from retune.training.weight_names import is_adapter, published_name
from retune.verifying import WEIGHTS as BASE_WEIGHTS
from retune.verifying import check_list, verify_folder, verify_hashes

log = logging.getLogger(__name__)

GB = 1e9
CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json")


def run(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the tuned weights, named and rounded as those in the base model's files.

    Every weight is compared with the hash that the ranks took of the live one at the
    end of training, and what is published is read back. What is stored twice in the
    base's files is stored twice here, too. LoRA adapters are merged into the model and,
    in peft's layout, written to `adapter/`.

    Memory holds one tensor at a time, of a mixture of experts those of one layer; the
    checkpoint's files are mapped.

    Args:
        settings: The `consolidate` section.
        base: Folder of the base model that fetch made (models/base).
        checkpoint: Folder of the last checkpoint that finetune made
            (results/finetune/checkpoint).
        consolidated: Folder to publish: the tuned weights as safetensors
            (models/consolidated).
    """
    verify_folder(base, "fetch", leave_out=[BASE_WEIGHTS])
    if ModelFacts.read(base).ignored:
        # What the model does not use of its files is published as it is there.
        verify_folder(base, "fetch")
    saved = check_list(checkpoint, "finetune")
    verify_hashes([file for file in saved if file.name == WEIGHTS], "finetune")
    try:
        return publish(settings, base, checkpoint, consolidated)
    except Exception:
        # The weights' own hashes make reading all of the checkpoint, and of a base
        # model that adapters are merged into, first needless.
        verify_folder(checkpoint, "finetune")
        verify_folder(base, "fetch")
        raise


def publish(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the model's folder; see `run`."""
    weights = read_json(checkpoint / WEIGHTS)
    live, lora = weights["tensors"], weights.get("lora")
    base_weights = BaseWeights(base)
    readers = find_live_weights(base_weights, checkpoint, weights)
    with published_folder(consolidated) as stage:
        copy_all_but_weights(base, stage)
        if lora:
            write_adapters(stage / "adapter", lora, readers, live)
            readers, live = merged_model(lora, readers, live)
        tensors, facts = published_tensors(
            base_weights, readers, verified(readers, live), live, settings.dtype
        )
        shards = plan_shards(facts, int(settings.max_shard_size_gb * GB))
        for file, names in shards.items():
            write_file(stage / file, names, tensors, facts)
        write_index(stage, shards, facts)
        write_configs(base, stage, settings.dtype)
        write_manifest(stage)
    num_bytes = sum(map(size_of, facts.values()))
    rounding = describe_rounding(base_weights, live, facts)
    return (
        f"{counted(len(facts), 'tensor')}, {size(num_bytes)}, all equal to the live"
        f" weights{rounding}{', adapters merged' if lora else ''}"
    )


def describe_rounding(base: BaseWeights, live: Facts, published: Facts) -> str:
    """Return to what dtypes the weights were rounded, if they were."""
    pairs = [
        (live[group.weights[0]], published[name])
        for group in base.facts.weights
        for name in group.stored
    ]
    dtypes = {
        there["dtype"]
        for weight, there in pairs
        if dtype_of(there).itemsize < dtype_of(weight).itemsize
    }
    return f" rounded to {' and '.join(sorted(dtypes))}" if dtypes else ""


def find_live_weights(
    base: BaseWeights, checkpoint: Path, weights: dict[str, Any]
) -> Tensors:
    """Return how to read each weight that was live at the end of training.

    Frozen weights may be left out of a checkpoint: they are those of the base model.
    """
    facts = weights["tensors"]
    readers = find_weights(checkpoint, weights.get("layers"))
    if "lora" in weights:
        readers = {published_name(name): reader for name, reader in readers.items()}
        frozen = [name for name in facts if name not in readers and name in base.groups]
        readers |= {name: partial(read_frozen, base, name) for name in frozen}
    if missing := [name for name in facts if name not in readers]:
        raise RetuneError(
            f"{checkpoint} lacks {len(missing)} of {len(facts)} weights, such as"
            f" {missing[0]}; rerun finetune"
        )
    return {
        name: partial(readers[name], dtype_of(tensor)) for name, tensor in facts.items()
    }


def read_frozen(base: BaseWeights, name: str, dtype: torch.dtype) -> torch.Tensor:
    """Return a weight of the base model, which the training left as it was."""
    return base.read(name).to(dtype)


def merged_model(
    lora: dict[str, Any], tensors: Tensors, facts: Facts
) -> tuple[Tensors, Facts]:
    """Return base weights with their adapters added, and what is known of them."""
    merged = merge_adapters(lora, verified(tensors, facts))
    names = [name for name in facts if not is_adapter(name)]
    known = {name: dict(facts[name]) for name in names}
    for name in merged:
        del known[name]["sha256"]
    return {name: merged.get(name, tensors[name]) for name in names}, known


def verified(tensors: Tensors, facts: Facts) -> Tensors:
    """Return how to read the same weights, each held to the hash of the live one."""
    return {
        name: partial(read_verified, name, read, facts)
        if "sha256" in facts[name]
        else read
        for name, read in tensors.items()
    }


def read_verified(
    name: str, read: Callable[[], torch.Tensor], facts: Facts
) -> torch.Tensor:
    """Return a live weight; raise RetuneError if it is another than it was."""
    tensor = read()
    check(name, tensor_sha256(tensor), facts)
    return tensor


def write_adapters(
    folder: Path, lora: dict[str, Any], tensors: Tensors, facts: Facts
) -> None:
    """Write what peft's `PeftModel.from_pretrained(base_model, folder)` reads."""
    folder.mkdir()
    names = [name for name in facts if is_adapter(name)]
    write_file(folder / "adapter_model.safetensors", names, tensors, facts)
    # Where the base model lay is nothing to publish.
    config = {**lora, "base_model_name_or_path": None, "inference_mode": True}
    write_json(folder / "adapter_config.json", config)


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


def copy_all_but_weights(base: Path, folder: Path) -> None:
    """Copy config and tokenizer of the base model."""
    for path in sorted(base.iterdir()):
        is_other = ".safetensors" in path.name or path.name[0] == "."
        if path.is_file() and not is_other and path.name not in (MANIFEST, MODEL_FACTS):
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


def write_configs(base: Path, folder: Path, dtype: str) -> None:
    """Write the configs anew where what they say is no longer so.

    Code of the repository that they name was never fetched.
    """
    for name in CONFIGS:
        if not (base / name).exists():
            continue
        values = read_json(base / name)
        changed = {key: value for key, value in values.items() if key != "auto_map"}
        if name == "config.json" and dtype != "auto":
            key = "torch_dtype" if "torch_dtype" in changed else "dtype"
            changed[key] = dtype
        if changed != values:
            write_json(folder / name, changed)
