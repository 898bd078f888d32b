"""Write safetensors files tensor by tensor, each held to the hash of the live one."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from retune.errors import RetuneError
from retune.models.published_weights import Facts, Tensors
from retune.models.safetensors_headers import DTYPES
from retune.publishing import sync
from retune.training.tensor_hashes import tensor_sha256

# Of the tensors' beginning in a safetensors file, bytes.
ALIGNMENT = 8
# PyTorch's names of dtypes -> what safetensors calls them.
CODES = {name: code for code, name in DTYPES.items()}


def size_of(tensor: dict[str, Any]) -> int:
    """Return the bytes of a tensor described by dtype and shape."""
    return torch.Size(tensor["shape"]).numel() * dtype_of(tensor).itemsize


def dtype_of(tensor: dict[str, Any]) -> torch.dtype:
    """Return the dtype of a tensor described by its name."""
    return getattr(torch, tensor["dtype"])


def write_file(path: Path, names: list[str], tensors: Tensors, facts: Facts) -> None:
    """Write a safetensors file, one tensor at a time, and read it back.

    The format is the length of a JSON header, uint64, that header, and the tensors'
    bytes without a gap: https://huggingface.co/docs/safetensors.

    Raises:
        RetuneError: If a tensor, as read or as written, is not the live one.
    """
    # The widest first: so each begins at a multiple of its element size.
    names = sorted(names, key=lambda name: -dtype_of(facts[name]).itemsize)
    hashes = {}
    with path.open("wb") as file, ThreadPoolExecutor(1) as pool:
        file.write(header_of(names, facts))
        for name in names:
            tensor = tensors[name]().contiguous()
            if list(tensor.shape) != facts[name]["shape"]:
                shapes = f"{list(tensor.shape)} instead of {facts[name]['shape']}"
                raise RetuneError(f"the checkpoint's {name} is {shapes}")
            # Bytes that cannot be viewed with another dtype otherwise: a scalar's.
            data = tensor.reshape(-1).view(torch.uint8).numpy().data
            writing = pool.submit(file.write, data)
            hashes[name] = hashlib.sha256(data).hexdigest()
            writing.result()
            check(name, hashes[name], facts)
    with ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(sync, path)  # The disk works while hashes are taken.
        read_back(path, hashes)
        flushing.result()


def header_of(names: list[str], facts: Facts) -> bytes:
    """Return the beginning of a safetensors file with these tensors in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + size_of(facts[name])
        header[name] = {
            "dtype": CODES[facts[name]["dtype"]],
            "shape": facts[name]["shape"],
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def read_back(path: Path, hashes: dict[str, str]) -> None:
    """Raise RetuneError if a file does not hold the tensors of these hashes."""
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(partial(hash_on_disk, path), hashes))
    pairs = zip(hashes.items(), found, strict=True)
    wrong = [name for (name, sha256), there in pairs if there != sha256]
    if wrong:
        raise RetuneError(
            f"{path.name}: {', '.join(wrong)} on disk differ from what was written: is"
            " the disk in order? Nothing was published"
        )


def hash_on_disk(path: Path, name: str) -> str:
    """Return the sha256 of one tensor of a file; only that tensor is mapped for it."""
    with safe_open(path, framework="pt") as file:
        return tensor_sha256(file.get_tensor(name))


def check(name: str, sha256: str, facts: Facts) -> None:
    """Raise RetuneError if a weight's hash is not that of the live one."""
    if facts[name].get("sha256", sha256) != sha256:
        raise RetuneError(
            f"{name} differs from the weight at the end of training; nothing was"
            " published"
        )
