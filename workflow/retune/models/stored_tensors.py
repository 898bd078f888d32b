"""The tensors of safetensors files: what each of them is, and how it is read."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from retune.models.tensor_spec import TensorSpec

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
class StoredTensor(TensorSpec):
    """A tensor of a safetensors file.

    A dtype that no weight has that can be trained is called as safetensors calls it.

    Attributes:
        path: The file.
        name: Name of the tensor in the file.
    """

    path: Path
    name: str

    def read(self) -> torch.Tensor:
        """Return the tensor, on the CPU."""
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(self.name)


def list_stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors of all safetensors files of a folder by their names.

    Only the headers of the files are read.

    Raises:
        SafetensorError: If a header is damaged, or does not fit the file's size.
    """
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.offset_keys():
                tensor = file.get_slice(name)
                code = tensor.get_dtype()
                shape = tuple(tensor.get_shape())
                found[name] = StoredTensor(DTYPES.get(code, code), shape, path, name)
    return found
