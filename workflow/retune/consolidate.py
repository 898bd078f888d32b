"""The step `consolidate`: a checkpoint's shards to one model, verified."""

import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from retune.artifacts.model_facts import FILE as MODEL_FACTS
from retune.errors import RetuneError
from retune.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    write_json,
    write_manifest,
)
from retune.settings import ConsolidateSettings
from retune.training.adapters import find_in_base, merge_adapters
from retune.training.checkpoint_files import WEIGHTS, find_damage
from retune.training.shards import find_weights
from retune.training.tensor_hashes import tensor_sha256
from retune.training.weight_files import (
    Facts,
    Tensors,
    check,
    dtype_of,
    size_of,
    write_file,
)
from retune.training.weight_names import is_adapter, published_name

log = logging.getLogger(__name__)

GB = 1e9


def run(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the tuned weights, in the precision they were trained in.

    Every tensor is compared with the hash that the ranks took of the live weight at
    the end of training, and read back from the published files. Tied weights are
    stored once, as transformers expects. LoRA adapters are merged into the model and,
    in peft's layout, written to `adapter/`.

    Memory holds one tensor at a time; the checkpoint's files are mapped.
    """
    try:
        check_sizes(checkpoint)
        return publish(settings, base, checkpoint, consolidated)
    except Exception as error:
        # The weights' own hashes make reading all of the checkpoint first needless.
        if damage := find_damage(checkpoint):
            raise RetuneError(f"{checkpoint}: {damage}; rerun finetune") from error
        raise


def check_sizes(checkpoint: Path) -> None:
    """Raise an error if a file is missing or has another size than it had."""
    for file in read_json(checkpoint / MANIFEST)["files"]:
        path = checkpoint / file["path"]
        if path.stat().st_size != file["size"]:
            raise RetuneError(f"{path} has not its {file['size']} bytes")


def publish(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the model's folder; see `run`."""
    weights = read_json(checkpoint / WEIGHTS)
    facts, lora = weights["tensors"], weights.get("lora")
    tensors = find_live_weights(base, checkpoint, weights)
    with published_folder(consolidated) as stage:
        copy_all_but_weights(base, stage)
        if lora:
            write_adapters(stage / "adapter", lora, tensors, facts)
            tensors, facts = merged_model(lora, tensors, facts)
        shards = plan_shards(facts, int(settings.max_shard_size_gb * GB))
        for file, names in shards.items():
            write_file(stage / file, names, tensors, facts)
        write_index(stage, shards, facts)
        record_dtype(stage / "config.json", facts)
        write_manifest(stage)
    num_bytes = sum(map(size_of, facts.values()))
    return (
        f"{len(facts)} tensors, {num_bytes / 1e6:,.1f} MB, all equal to the live"
        f" weights{', adapters merged' if lora else ''}"
    )


def find_live_weights(base: Path, checkpoint: Path, weights: dict[str, Any]) -> Tensors:
    """Return how to read each weight that was live at the end of training.

    Frozen weights may be left out of a checkpoint: they are those of the base model.
    """
    facts = weights["tensors"]
    readers = find_weights(checkpoint, weights.get("layers"))
    if "lora" in weights:
        readers = {published_name(name): reader for name, reader in readers.items()}
        frozen = [name for name in facts if name not in readers]
        readers |= find_in_base(base, frozen)
    if missing := [name for name in facts if name not in readers]:
        raise RetuneError(
            f"{checkpoint} lacks {len(missing)} of {len(facts)} weights, such as"
            f" {missing[0]}; rerun finetune"
        )
    return {
        name: partial(readers[name], dtype_of(tensor)) for name, tensor in facts.items()
    }


def merged_model(
    lora: dict[str, Any], tensors: Tensors, facts: Facts
) -> tuple[Tensors, Facts]:
    """Return base weights with their adapters added, and what is known of them."""
    verified = {
        name: partial(read_verified, name, read, facts)
        for name, read in tensors.items()
    }
    merged = merge_adapters(lora, verified)
    names = [name for name in facts if not is_adapter(name)]
    known = {name: dict(facts[name]) for name in names}
    for name in merged:
        del known[name]["sha256"]
    return {name: merged.get(name, tensors[name]) for name in names}, known


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


def record_dtype(config: Path, tensors: dict[str, Any]) -> None:
    """Tell transformers the dtype of the published weights."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("torch_dtype", None)
    values["dtype"] = next(iter(tensors.values()))["dtype"]
    write_json(config, values)
