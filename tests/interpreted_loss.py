"""DeepSpeed's Triton kernels of the loss beside PyTorch's: as a program, a table.

It needs tests/interpreted_triton on its path.
"""

import json
from importlib import import_module

import torch
from torch.nn.functional import linear
from triton.backends import backends

from retune.artifacts.model_facts import OutputHead
from retune.engines.loss import token_loss_sum
from retune.tokens.blocks import IGNORE_INDEX

# DeepSpeed asks this when it is imported, and makes its kernels only on a GPU.
backends["nvidia"].driver.is_active = lambda: True
deepspeed_loss = import_module("deepspeed.runtime.chunked_cross_entropy")
chunked_loss = import_module("retune.engines.chunked_loss")
# More words than a kernel takes at once, and no multiple of it.
WORDS = 4096 + 904
HEADS = {
    "plain": OutputHead(),
    "scaled": OutputHead(scale=0.25),
    "capped": OutputHead(softcap=3.0),
}


def use_triton() -> None:
    """Have chosen what is chosen for tensors of a GPU alone.

    These are DeepSpeed's kernels, and a vocabulary that is filled up for products.
    """
    assert deepspeed_loss.triton_backend_available()
    deepspeed_loss._resolve_backend = lambda backend, logits: "triton"
    multiple = chunked_loss.WORDS_MULTIPLE
    multiple["cpu"] = multiple["cuda"]
    assert WORDS % multiple["cuda"]


def outcome(loss: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return a loss, and its gradients times a number."""
    return [loss.detach(), *torch.autograd.grad(loss * 0.5, inputs)]


def differences(head: OutputHead) -> list[float]:
    """Return how loss and gradients differ, relative to the largest value of each."""
    torch.manual_seed(0)
    shapes = ((6, 16), (WORDS, 16), (WORDS,))
    inputs = [torch.randn(shape).requires_grad_() for shape in shapes]
    hidden, weight, bias = inputs
    labels = torch.tensor([0, 4095, 4096, WORDS - 1, 17, 17])
    logits = chunked_loss.logits_of(linear(hidden, weight, bias), head)
    wanted = outcome(token_loss_sum(logits, labels), inputs)
    found = outcome(
        chunked_loss.chunked_loss_sum(hidden, weight, bias, labels, head), inputs
    )
    return [relative(*pair) for pair in zip(found, wanted, strict=True)]


def differences_with_ignored() -> list[float]:
    """Return the same of logits, some labels of which are ignored."""
    torch.manual_seed(0)
    logits = torch.randn(4, WORDS).requires_grad_()
    labels = torch.tensor([3, IGNORE_INDEX, IGNORE_INDEX, WORDS - 1])
    wanted = outcome(token_loss_sum(logits, labels), [logits])
    found = outcome(chunked_loss.cross_entropy_sum(logits, labels), [logits])
    assert not found[1][1:3].any()
    return [relative(*pair) for pair in zip(found, wanted, strict=True)]


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


if __name__ == "__main__":
    use_triton()
    table = {name: differences(head) for name, head in HEADS.items()}
    print(json.dumps({**table, "ignored": differences_with_ignored()}))
