"""Reading a file of `torch.save` without running what its pickle names.

`torch.load(weights_only=True)` refuses DeepSpeed's checkpoints, which hold objects of
DeepSpeed's own classes. Uses the functions of PyTorch in TENSOR_PARTS, by which a
pickle names its tensors, and that `torch.load` subclasses the `Unpickler` of its
`pickle_module`. Without these, `consolidate` could not read a checkpoint.
"""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

TENSOR_PARTS = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "Tensor"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.nn.parameter", "Parameter"),
}


def load_mapped(path: Path) -> dict[str, Any]:
    """Return what a file of `torch.save` holds; its tensors are mapped, not read."""
    return torch.load(
        path,
        map_location="cpu",
        mmap=True,
        weights_only=False,
        pickle_module=SimpleNamespace(__name__=__name__, Unpickler=TensorUnpickler),
    )


class TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and containers; nothing of other classes is run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function by its name; `Unread` if no tensor needs it."""
        if (module, name) in TENSOR_PARTS:
            return super().find_class(module, name)
        return Unread


class Unread:
    """Stands for an object of another class, such as DeepSpeed's loss scaler."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what the real class takes."""

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""
