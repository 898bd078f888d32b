"""Write safetensors files tensor by tensor, each held to the hash of the live one."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open

from retune.artifacts.publishing import sync
from retune.errors import RetuneError
from retune.models.stored_tensors import DTYPES
from retune.models.tensor_hashes import tensor_sha256
from retune.models.tensor_spec import Expected, ExpectedTensor, Tensors

# Bytes; the tensors of a safetensors file begin at a multiple of it.
ALIGNMENT = 8
# PyTorch's names of dtypes -> those of safetensors.
CODES = {name: code for code, name in DTYPES.items()}


def write_file(
    path: Path, names: Iterable[str], tensors: Tensors, expected: Expected
) -> None:
    """Write a safetensors file, one tensor at a time, and read it back.

    The safetensors library can only write tensors that are all in memory. The format is
    the length of a JSON header, uint64, that header, and the tensors' bytes without a
    gap: https://huggingface.co/docs/safetensors.

    Args:
        path: File to write.
        names: Names of the tensors that go into it.
        tensors: How to read or compute each tensor.
        expected: What each tensor has to be.

    Raises:
        RetuneError: If a tensor, as read or as written, is not the live one.
    """
    # In this order each tensor begins at a multiple of its element size.
    names = sorted(names, key=lambda name: -expected[name].torch_dtype.itemsize)
    hashes = {}
    with path.open("wb") as file, ThreadPoolExecutor(1) as pool:
        file.write(header_of(names, expected))
        for name in names:
            tensor = tensors[name]().contiguous()
            if tensor.shape != expected[name].shape:
                shapes = f"{list(tensor.shape)} instead of {list(expected[name].shape)}"
                raise RetuneError(f"the checkpoint's {name} is {shapes}")
            # A scalar can be viewed as bytes only after it is given a dimension.
            data = tensor.reshape(-1).view(torch.uint8).numpy().data
            writing = pool.submit(file.write, data)
            hashes[name] = hashlib.sha256(data).hexdigest()
            writing.result()
            check(name, hashes[name], expected[name])
    with ThreadPoolExecutor(1) as pool:
        # The file is forced to disk while its tensors are read back and hashed.
        flushing = pool.submit(sync, path)
        read_back(path, hashes)
        flushing.result()


def header_of(names: list[str], expected: Expected) -> bytes:
    """Return the beginning of a safetensors file with these tensors in this order."""
    header: dict[str, dict[str, object]] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        start, end = end, end + expected[name].num_bytes
        header[name] = {
            "dtype": CODES[expected[name].dtype],
            "shape": expected[name].shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def read_back(path: Path, hashes: Mapping[str, str]) -> None:
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
    """Return the sha256 of one tensor of a file; no other tensor is read."""
    with safe_open(path, framework="pt") as file:
        return tensor_sha256(file.get_tensor(name))


def check(name: str, sha256: str, expected: ExpectedTensor) -> None:
    """Raise RetuneError if a weight's hash is not that of the live one.

    Args:
        name: Name of the weight.
        sha256: Hash of the weight as it was read.
        expected: What the weight has to be; without a hash nothing is compared.
    """
    if expected.sha256 not in (None, sha256):
        raise RetuneError(
            f"{name} differs from the weight at the end of training; nothing was"
            " published"
        )
