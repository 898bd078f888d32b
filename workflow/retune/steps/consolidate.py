"""The step `consolidate`: a checkpoint's shards to one model, verified."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from retune.artifacts.checkpoint_weights import FILE as WEIGHTS
from retune.artifacts.checkpoint_weights import CheckpointWeights
from retune.artifacts.model_facts import FILE as MODEL_FACTS
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    write_json,
    write_manifest,
    write_text,
)
from retune.artifacts.verifying import WEIGHTS as BASE_WEIGHTS
from retune.artifacts.verifying import check_list, verify_folder, verify_hashes
from retune.checkpoints.shards import find_weights
from retune.compat.bitsandbytes_4bit import quantized_and_back
from retune.compat.peft_names import is_adapter, published_name
from retune.errors import RetuneError
from retune.models.adapter_merging import merge_adapters
from retune.models.adapter_readme import adapter_readme
from retune.models.base_weights import BaseWeights
from retune.models.four_bit_weights import SETTING as IN_4_BITS
from retune.models.published_weights import published_tensors
from retune.models.tensor_hashes import tensor_sha256
from retune.models.tensor_spec import Expected, ExpectedTensor, Tensors
from retune.models.weight_files import check, write_file
from retune.planning.bitsandbytes import check_bitsandbytes
from retune.quantities import counted, size
from retune.settings import ConsolidateSettings
from retune.units import GB

log = logging.getLogger(__name__)

CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json")


def run(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the tuned weights, named and rounded as those in the base model's files.

    Every weight is compared with the hash that the ranks took of the live one at the
    end of training, and what is published is read back. A tensor that the base's files
    have twice is stored twice here, too. LoRA adapters are merged into the model and,
    in peft's layout, written to `adapter/`, with a README.md that says how to
    load them.

    The checkpoint's files are mapped, and memory holds one tensor at a time, or the
    experts of one layer of a mixture.

    Args:
        settings: The `consolidate` section.
        base: Folder of the base model that fetch made (models/base).
        checkpoint: Folder of the last checkpoint that finetune made
            (results/finetune/checkpoint).
        consolidated: Folder to publish: the tuned weights as safetensors
            (models/consolidated).

    Returns:
        The number and size of the tensors, and what was rounded or merged, for people.

    Raises:
        RetuneError: If an input is damaged, or a weight is not the live one.
    """
    verify_folder(base, "fetch", leave_out=[BASE_WEIGHTS])
    if ModelFacts.read(base).ignored:
        # Tensors that the model does not use are published as the base's files have
        # them, and no hash of a live weight vouches for these.
        verify_folder(base, "fetch")
    saved = check_list(checkpoint, "finetune")
    verify_hashes([file for file in saved if file.name == WEIGHTS], "finetune")
    try:
        return publish(settings, base, checkpoint, consolidated)
    except Exception:
        # Every weight is compared with its own hash, so the files are not read for
        # their hashes before. If something is wrong, these name the damaged file.
        verify_folder(checkpoint, "finetune")
        verify_folder(base, "fetch")
        raise


def publish(
    settings: ConsolidateSettings, base: Path, checkpoint: Path, consolidated: Path
) -> str:
    """Write the model's folder; see `run`."""
    weights = CheckpointWeights.read(checkpoint)
    lora = weights.lora
    if weights.in_4bit:
        check_bitsandbytes(IN_4_BITS)
    live = {
        name: ExpectedTensor(weight.dtype, weight.shape, weight.sha256)
        for name, weight in weights.tensors.items()
    }
    base_weights = BaseWeights(base)
    trained = live
    readers = find_live_weights(base_weights, checkpoint, weights, live)
    with published_folder(consolidated) as stage:
        copy_all_but_weights(base, stage)
        if lora is not None:
            write_adapters(stage / "adapter", lora, readers, live)
            origin = read_json(base / MANIFEST)
            readme = adapter_readme(weights, origin.get("name"), origin.get("revision"))
            write_text(stage / "adapter/README.md", readme)
            readers, live = merged_model(lora, readers, live)
        tensors, expected = published_tensors(
            base_weights, readers, verified(readers, live), live, settings.dtype
        )
        shards = plan_shards(expected, int(settings.max_shard_size_gb * GB))
        for file, names in shards.items():
            write_file(stage / file, names, tensors, expected)
        write_index(stage, shards, expected)
        write_configs(base, stage, settings.dtype)
        write_manifest(stage)
    num_bytes = sum(tensor.num_bytes for tensor in expected.values())
    dtypes = rounded_dtypes(base_weights, trained, expected)
    rounding = f" rounded to {' and '.join(dtypes)}" if dtypes else ""
    onto = " into the weights as they were in 4 bits" if weights.in_4bit else ""
    merged = f", adapters merged{onto}" if lora is not None else ""
    return (
        f"{counted(len(expected), 'tensor')}, {size(num_bytes)}, all equal to the live"
        f" weights{rounding}{merged}"
    )


def rounded_dtypes(base: BaseWeights, live: Expected, published: Expected) -> list[str]:
    """Return the dtypes, sorted, of tensors that were rounded when they were published.

    Args:
        base: The base model.
        live: The weights at the end of training.
        published: The tensors that were published.
    """
    pairs = [
        (live[group.weights[0]], published[name])
        for group in base.facts.weights
        for name in group.stored
    ]
    return sorted(
        {
            tensor.dtype
            for weight, tensor in pairs
            if tensor.torch_dtype.itemsize < weight.torch_dtype.itemsize
        }
    )


def find_live_weights(
    base: BaseWeights, checkpoint: Path, weights: CheckpointWeights, live: Expected
) -> Tensors:
    """Return how to read each weight that was live at the end of training.

    A checkpoint with adapters may leave out frozen weights, which are those of the base
    model.

    Raises:
        RetuneError: If weights are missing.
    """
    readers = find_weights(checkpoint, weights.layers)
    if weights.lora is not None:
        readers = {published_name(name): reader for name, reader in readers.items()}
        frozen = [name for name in live if name not in readers and name in base.groups]
        readers |= {name: partial(read_frozen, base, name) for name in frozen}
        is_transposed = bool(weights.lora.get("fan_in_fan_out"))
        readers |= {
            name: partial(read_in_4bit, base, name, is_transposed)
            for name in weights.in_4bit
        }
    if missing := [name for name in live if name not in readers]:
        raise RetuneError(
            f"{checkpoint} lacks {len(missing)} of {len(live)} weights, such as"
            f" {missing[0]}; rerun finetune"
        )
    return {
        name: partial(readers[name], tensor.torch_dtype)
        for name, tensor in live.items()
    }


def read_frozen(base: BaseWeights, name: str, dtype: torch.dtype) -> torch.Tensor:
    """Return a weight of the base model, which the training left as it was."""
    return base.read(name).to(dtype)


def read_in_4bit(
    base: BaseWeights, name: str, is_transposed: bool, dtype: torch.dtype
) -> torch.Tensor:
    """Return a weight of the base model as the training held it, in 4 bits.

    Args:
        base: The base model.
        name: Name of the weight in the model.
        is_transposed: Whether the weight is [in, out].
        dtype: Dtype of the training.
    """
    return quantized_and_back(read_frozen(base, name, dtype), is_transposed)


def merged_model(
    lora: dict[str, Any], tensors: Tensors, live: Expected
) -> tuple[Tensors, Expected]:
    """Return how to read base weights with adapters added, and what these must be.

    A weight with an adapter is fp32, so that it is rounded once, to what is published.

    Args:
        lora: The content of peft's adapter_config.json.
        tensors: How to read each weight, of base model and adapters.
        live: What these weights are.
    """
    merged = merge_adapters(lora, verified(tensors, live))
    names = [name for name in live if not is_adapter(name)]
    expected = {
        name: replace(live[name], dtype="float32", sha256=None)
        if name in merged
        else live[name]
        for name in names
    }
    return {name: merged.get(name, tensors[name]) for name in names}, expected


def verified(tensors: Tensors, live: Expected) -> Tensors:
    """Return how to read the same weights, each compared with the live one's hash."""
    return {
        name: partial(read_verified, name, read, live[name])
        if live[name].sha256 is not None
        else read
        for name, read in tensors.items()
    }


def read_verified(
    name: str, read: Callable[[], torch.Tensor], live: ExpectedTensor
) -> torch.Tensor:
    """Return a weight.

    Raises:
        RetuneError: If it is not the live one.
    """
    tensor = read()
    check(name, tensor_sha256(tensor), live)
    return tensor


def write_adapters(
    folder: Path, lora: dict[str, Any], tensors: Tensors, live: Expected
) -> None:
    """Write what peft's `PeftModel.from_pretrained(base_model, folder)` reads."""
    folder.mkdir()
    names = [name for name in live if is_adapter(name)]
    write_file(folder / "adapter_model.safetensors", names, tensors, live)
    # The folder in which the base model was says nothing to others.
    config = {**lora, "base_model_name_or_path": None, "inference_mode": True}
    write_json(folder / "adapter_config.json", config)


def plan_shards(tensors: Expected, max_bytes: int) -> dict[str, list[str]]:
    """Return file name -> tensor names, each file at most `max_bytes`."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        num_bytes = tensor.num_bytes
        if groups[-1] and filled + num_bytes > max_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += num_bytes
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
    folder: Path, shards: Mapping[str, list[str]], tensors: Expected
) -> None:
    """Write the index that Transformers needs beside several shards."""
    if len(shards) == 1:
        return
    weight_map = {name: file for file, names in shards.items() for name in names}
    total = sum(tensor.num_bytes for tensor in tensors.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )


def write_configs(base: Path, folder: Path, dtype: str) -> None:
    """Write the configs anew without `auto_map`, and with the published dtype.

    `auto_map` names code of the base model's repository, which was never fetched.
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
