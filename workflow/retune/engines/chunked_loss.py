"""The training objective without the logits of all tokens.

The output head and the cross-entropy are computed some tokens at a time, and so are
their gradients, at once: only the logits of one chunk are ever in memory. Tokens that
are not trained get none. The result is that of `retune.engines.loss.token_loss_sum`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, pad

from retune.artifacts.model_facts import OutputHead
from retune.compat.deepspeed_loss import cross_entropy_sum

# Tokens of a chunk. On a GPU matrix products of fewer rows would not keep it busy.
CHUNK_TOKENS = {"cpu": 256, "cuda": 2048}
# Of so many words the vocabulary is a multiple in the products, if need be with words
# that are never predicted. GPUs have fast kernels only where each row of a matrix
# begins at a multiple of 16 bytes, which those of GPT-2's 50,257 words do not.
WORDS_MULTIPLE = {"cpu": 1, "cuda": 64}


class LossHead(nn.Linear):
    """An output head that computes the loss as well.

    The loss is computed within its `forward`, because there ZeRO-3 has gathered the
    weight.
    """

    def __init__(self, head: nn.Linear, output_head: OutputHead) -> None:
        """Take the place of a head, with its parameters.

        Args:
            head: The head of the model.
            output_head: What the model does with the head's products.
        """
        has_bias = head.bias is not None
        super().__init__(
            head.in_features, head.out_features, bias=has_bias, device="meta"
        )
        self.weight = head.weight
        self.bias = head.bias
        self.output_head = output_head

    def forward(
        self,
        hidden: torch.Tensor,
        labels: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of the trained tokens, nats, a scalar in fp32.

        Without labels it returns the head's product, as any head does.

        Args:
            hidden: Last hidden states, [sequences, length, hidden size].
            labels: Token to predict at each trained place, int64 [trained].
            places: Number of each trained token among all tokens, int64 [trained].
        """
        if labels is None or places is None:
            return super().forward(hidden)
        rows = hidden.flatten(0, -2).index_select(0, places)
        return chunked_loss_sum(rows, self.weight, self.bias, labels, self.output_head)


def chunked_loss_sum(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    output_head: OutputHead,
) -> torch.Tensor:
    """Return the sum of the losses of tokens, nats, a scalar in fp32.

    Args:
        hidden: Last hidden state of each token, [tokens, hidden size].
        weight: Weight of the head, [vocabulary, hidden size].
        bias: Bias of the head, [vocabulary], or None.
        labels: Token to predict, int64 [tokens].
        output_head: What the model does with the head's products.
    """
    if torch.is_grad_enabled():
        return ChunkedLoss.apply(hidden, weight, bias, labels, output_head)
    total = torch.zeros((), device=hidden.device)
    words = len(weight)
    weight, bias = with_more_words(weight, bias, output_head)
    for rows, wanted in chunks(hidden, labels):
        products = products_of(rows, weight, bias, words)
        total += cross_entropy_sum(logits_of(products, output_head), wanted)
    return total


class ChunkedLoss(torch.autograd.Function):
    """The sum of the losses, whose gradients are computed with it.

    The gradients of the sum are kept until the backward pass multiplies them by what
    the sum itself is multiplied by.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        output_head: OutputHead,
    ) -> torch.Tensor:
        """Return the sum; the arguments are those of `chunked_loss_sum`."""
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        words = len(weight)
        weight, bias = with_more_words(weight, bias, output_head)
        of_hidden = torch.empty_like(hidden) if needs_hidden else None
        # In fp32, because rounding after each chunk would add up.
        of_weight: torch.Tensor | None = None
        of_bias: torch.Tensor | None = None
        total = torch.zeros((), device=hidden.device)
        done = 0
        for rows, wanted in chunks(hidden, labels):
            products = products_of(rows, weight, bias, words)
            loss, of_products = loss_and_gradient(products, wanted, output_head)
            # Without this, two chunks of logits would be in memory, and two gradients.
            del products
            total += loss
            if of_hidden is not None:
                torch.mm(of_products, weight, out=of_hidden[done : done + len(rows)])
            if needs_weight:
                of_weight = plus_product(of_weight, of_products.t(), rows)
            if needs_bias:
                of_bias = plus(of_bias, of_products.sum(dim=0, dtype=torch.float32))
            done += len(rows)
            del of_products
        sums = (
            rounded(of_weight, weight, words) if needs_weight else None,
            rounded(of_bias, bias, words) if needs_bias and bias is not None else None,
        )
        ctx.save_for_backward(of_hidden, *sums)
        return total

    @staticmethod
    def backward(ctx: Any, *factors: torch.Tensor) -> Any:
        """Return the gradients, times what the sum is multiplied by."""
        (factor,) = factors
        return (
            *(None if g is None else g.mul_(factor) for g in ctx.saved_tensors),
            None,
            None,
        )


def with_more_words(
    weight: torch.Tensor, bias: torch.Tensor | None, output_head: OutputHead
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a head with so many words that products with it are fast.

    Args:
        weight: Weight of the head, [vocabulary, hidden size].
        bias: Bias of the head, [vocabulary], or None.
        output_head: What the model does with the head's products. Where they are
            capped, none stands for a word that is never predicted.
    """
    extra = -len(weight) % WORDS_MULTIPLE[weight.device.type]
    if extra == 0 or output_head.softcap is not None:
        return weight, bias
    padded = None if bias is None else pad(bias, (0, extra))
    return pad(weight, (0, 0, 0, extra)), padded


def products_of(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, words: int
) -> torch.Tensor:
    """Return a head's products, by which words that were added are never predicted.

    Args:
        rows: Hidden states, [tokens, hidden size].
        weight: Weight of the head, if need be with more words.
        bias: Bias of the head, or None.
        words: Number of words of the vocabulary itself.
    """
    products = linear(rows, weight, bias)
    if len(weight) > words:
        products[:, words:].fill_(-torch.inf)
    return products


def loss_and_gradient(
    products: torch.Tensor, labels: torch.Tensor, output_head: OutputHead
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the losses of a chunk, and its gradient by the head's products.

    Args:
        products: The head's products, [tokens, vocabulary].
        labels: Token to predict, int64 [tokens].
        output_head: What the model does with the head's products.
    """
    products.requires_grad_()
    with torch.enable_grad():
        loss = cross_entropy_sum(logits_of(products, output_head), labels)
        (gradient,) = torch.autograd.grad(loss, products)
    return loss.detach(), gradient


def plus(total: torch.Tensor | None, term: torch.Tensor) -> torch.Tensor:
    """Return a sum and one more term, in the sum's memory; None is an empty sum."""
    return term if total is None else total.add_(term)


def plus_product(
    total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Return a sum in fp32 and one more matrix product, in the sum's memory.

    Args:
        total: The sum; None: there is none yet. Zeros would have to be written, and
            read again.
        left: A matrix, of which the product may have the lower precision.
        right: The other matrix.
    """
    if total is None:
        return (left @ right).float()
    if left.dtype == total.dtype:
        return total.addmm_(left, right)
    return total.add_(left @ right)


def rounded(
    total: torch.Tensor | None, parameter: torch.Tensor, words: int
) -> torch.Tensor:
    """Return a parameter's gradient from its sum in fp32.

    Args:
        total: The sum; None if there was no chunk.
        parameter: The parameter, if need be with more words.
        words: Number of words of the vocabulary itself.
    """
    if total is None:
        return torch.zeros_like(parameter[:words])
    return total[:words].to(parameter.dtype)


def chunks(
    hidden: torch.Tensor, labels: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield hidden states and labels of so many tokens at a time."""
    size = CHUNK_TOKENS[hidden.device.type]
    yield from zip(hidden.split(size), labels.split(size), strict=True)


def logits_of(products: torch.Tensor, output_head: OutputHead) -> torch.Tensor:
    """Return the logits of a model from its head's products, [tokens, vocabulary]."""
    logits = products
    if output_head.scale != 1:
        logits = logits * output_head.scale
    if output_head.softcap is not None:
        logits = output_head.softcap * torch.tanh(logits / output_head.softcap)
    return logits
