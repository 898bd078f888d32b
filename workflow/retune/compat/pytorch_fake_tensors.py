"""Tensors that have shapes and storages but no memory.

Uses `FakeTensorMode` of `torch._subclasses.fake_tensor`, and the dictionaries
`_parameters` and `_buffers` of modules. Without them, no memory of activations could be
predicted. Fake tensors are on the CPU: on `cuda` PyTorch makes none without a GPU.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


def fake_tensors() -> AbstractContextManager[object]:
    """Return a context in which new tensors are fake, and others are taken for such."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def without_errors_of_fake_tensors() -> Iterator[None]:
    """Have PyTorch log no stack where fake tensors cannot compute something."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def make_fake(model: nn.Module) -> None:
    """Make a model's parameters and buffers fake tensors on the CPU.

    Has to be called in the context. Tied weights stay tied.

    Args:
        model: The model, on the meta device.
    """
    made: dict[int, torch.Tensor] = {}
    for module in model.modules():
        stores: list[dict[str, Any]] = [module._parameters, module._buffers]
        for tensors in stores:
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    made[id(tensor)] = fake_of(tensor)
                tensors[name] = made[id(tensor)]


def fake_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return a fake tensor like another one."""
    fake = torch.empty(tensor.shape, dtype=tensor.dtype)
    if not isinstance(tensor, nn.Parameter):
        return fake
    return nn.Parameter(fake, tensor.requires_grad)
