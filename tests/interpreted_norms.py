"""Liger's normalisation of many narrow rows beside the families' own: a table as JSON.

It needs tests/interpreted_triton on its path. For 32,768 rows of up to 256 columns and
more, such as the heads of Qwen3 and Gemma 3 at any real batch, Liger has other kernels
than for the rows of small models.
"""

import json

import torch
from liger_kernel.ops import rms_norm
from liger_kernel.transformers.rms_norm import LigerRMSNorm, LigerRMSNormForGemma3
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

# No multiples of the rows and columns that a program of a kernel takes.
ROWS, COLUMNS = 32_768 + 5, 24
EPS = 1e-6
# How the inputs are cast -> the family's own module and Liger's.
PAIRS = {
    "llama": (Qwen3RMSNorm(COLUMNS, EPS), LigerRMSNorm(COLUMNS, EPS)),
    "gemma": (Gemma3RMSNorm(COLUMNS, EPS), LigerRMSNormForGemma3(COLUMNS, EPS)),
}
launched = set()


class Noted:
    """A kernel that notes that it was launched."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kernel = getattr(rms_norm, name)

    def __getitem__(self, grid):
        launched.add(self.name)
        return self.kernel[grid]


def outcome(norm: nn.Module) -> list[torch.Tensor]:
    """Return the output of a module and the gradients of its inputs and weights."""
    torch.manual_seed(0)
    inputs = torch.randn(ROWS, COLUMNS).requires_grad_()
    nn.init.normal_(norm.weight)
    output = norm(inputs)
    loss = (output * torch.randn(ROWS, COLUMNS)).sum()
    return [output.detach(), *torch.autograd.grad(loss, [inputs, norm.weight])]


def differences(own: nn.Module, liger: nn.Module) -> list[float]:
    """Return how they differ, relative to the largest value of each."""
    return [
        ((found - wanted).abs().max() / wanted.abs().max()).item()
        for found, wanted in zip(outcome(liger), outcome(own), strict=True)
    ]


if __name__ == "__main__":
    for name in [name for name in vars(rms_norm) if name.endswith("_kernel")]:
        setattr(rms_norm, name, Noted(name))
    table = {name: differences(*pair) for name, pair in PAIRS.items()}
    print(json.dumps({"differences": table, "launched": sorted(launched)}))
