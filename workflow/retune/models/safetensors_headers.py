"""What safetensors files hold, without reading the tensors."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

# What safetensors calls the dtypes that weights and buffers have -> PyTorch's names.
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file.

    Attributes:
        path: The file.
        dtype: As PyTorch names it; as safetensors does, if PyTorch has none such.
        shape: Its size in each dimension.
        num_bytes: What it takes in the file.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int


def read_headers(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors of all safetensors files of a folder by their names.

    The format is the length of a JSON header, uint64, that header, and the tensors'
    bytes: https://huggingface.co/docs/safetensors.
    """
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        for name, tensor in header.items():
            start, end = tensor["data_offsets"]
            dtype = DTYPES.get(tensor["dtype"], tensor["dtype"])
            found[name] = StoredTensor(path, dtype, tuple(tensor["shape"]), end - start)
    return found
