"""Follows the bytes of the tensors that are alive, operator by operator.

Uses `TorchDispatchMode` of `torch.utils._python_dispatch`, and that the Python object
of a storage lives as long as the storage. Without it, no memory of activations could be
predicted: fake tensors have shapes and storages, but no memory that could be measured.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from retune.compat.pytorch_operations import OperationCounter

# Returns the bytes that an operator takes while it runs, by its arguments.
Scratch = Callable[[Any, tuple[Any, ...]], int]


class LiveStorages(TorchDispatchMode):
    """Counts the storages that operators return while it is entered, real or fake.

    Attributes:
        bytes: Of those that are alive now.
        held: Bytes that are counted on top, for the second of the peaks.
        peak: Most of `bytes` since `restart`.
        peak_with_held: Most of `bytes` and `held` together since `restart`.
        operations: What all operators have computed and moved.
    """

    def __init__(self, scratch: Scratch | None = None) -> None:
        """Start from nothing.

        Args:
            scratch: What operators take beside what they return; None: nothing.
        """
        super().__init__()
        self._scratch = scratch
        self.bytes = self.held = self.peak = self.peak_with_held = 0
        self.operations = OperationCounter()
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator and count what it returns; PyTorch calls this."""
        result = func(*args, **(kwargs or {}))
        self.operations.count(func, args, result)
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.count(value)
        if self._scratch and (size := self._scratch(func, args)):
            self._reach(self.bytes + size)
        return result

    def count(self, tensor: torch.Tensor) -> None:
        """Count the storage of a tensor, unless it has been counted."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.bytes += size
        weakref.finalize(storage, self._forget, size)
        self._reach(self.bytes)

    def ignore(self, tensor: torch.Tensor) -> None:
        """Count the storage of a tensor neither now nor later."""
        self._known.add(tensor.untyped_storage())

    def hold(self, size: int) -> None:
        """Count some bytes more on top, from now on."""
        self.held += size
        self.peak_with_held = max(self.peak_with_held, self.bytes + self.held)

    def restart(self) -> None:
        """Begin both peaks anew."""
        self.peak = self.bytes
        self.peak_with_held = self.bytes + self.held

    def _reach(self, size: int) -> None:
        """Let both peaks know that so many bytes were in use."""
        self.peak = max(self.peak, size)
        self.peak_with_held = max(self.peak_with_held, size + self.held)

    def _forget(self, size: int) -> None:
        self.bytes -= size
