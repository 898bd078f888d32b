"""What a tensor is: its dtype, its shape and, where it is known, its hash."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TensorSpec:
    """The dtype and shape of a tensor.

    Attributes:
        dtype: PyTorch's name of the dtype, without `torch.`.
        shape: Size in each dimension.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype itself."""
        return getattr(torch, self.dtype)

    @property
    def num_bytes(self) -> int:
        """Size of all elements."""
        return torch.Size(self.shape).numel() * self.torch_dtype.itemsize


@dataclass(frozen=True)
class ExpectedTensor(TensorSpec):
    """What a tensor has to be when it is read or computed.

    Attributes:
        sha256: Hash of its bytes as they were at the end of training; None for a
            tensor that is computed afterwards, such as a rounded one.
    """

    sha256: str | None = None


# Name -> what reads or computes that tensor.
Tensors = dict[str, Callable[[], torch.Tensor]]
# Name -> what that tensor has to be.
Expected = dict[str, ExpectedTensor]
