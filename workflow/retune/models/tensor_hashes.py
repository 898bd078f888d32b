"""The sha256 of a tensor's bytes."""

import hashlib

import torch


def tensor_sha256(tensor: torch.Tensor) -> str:
    """Return the hex digest of a tensor's elements in order, whatever its strides."""
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy().data).hexdigest()
