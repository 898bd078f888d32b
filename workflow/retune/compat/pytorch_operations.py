"""Counts what the operators of a step compute and move, on real or fake tensors.

Uses `flop_registry` of `torch.utils.flop_counter`, that operators which make nothing
new return tensors of the same storage, and the order of the arguments of PyTorch's
attention operators. Without it, no time of a step could be predicted.
"""

from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# Make a tensor whose values nobody has written.
UNWRITTEN = ("empty", "new_empty", "empty_like", "empty_strided", "_to_copy_meta")
# Read as many rows of a table as they return.
LOOKUPS = ("embedding", "index_select", "gather", "index")
ATTENTION = ("_varlen_attn", "_scaled_dot_product", "_flash_attention")
# Products of a backward pass of attention, where those of a forward pass are two.
PRODUCTS, BACKWARD_PRODUCTS = 2, 5


class OperationCounter:
    """What operators have done so far.

    Attributes:
        products: FLOPs of matrix products, attention among them.
        moved: Bytes that all other operators have read and written.
        operations: Number of operators that computed or moved something.
    """

    def __init__(self) -> None:
        """Start from nothing."""
        self.products = self.moved = self.operations = 0

    def count(self, func: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Count a call of an operator.

        Args:
            func: The operator, such as `torch.ops.aten.mm.default`.
            arguments: Its positional arguments.
            result: What it returned.
        """
        name = func._opname if hasattr(func, "_opname") else str(func)
        given = tensors_of(arguments)
        made = tensors_of(result)
        storages = {storage_of(tensor) for tensor in given}
        new = [tensor for tensor in made if storage_of(tensor) not in storages]
        is_mutating = func._schema.is_mutable
        if name in UNWRITTEN or not (new or is_mutating):
            return
        self.operations += 1
        if any(name.startswith(kind) for kind in ATTENTION):
            self.products += attention_flops(name, arguments)
        elif (packet := func._overloadpacket) in flop_registry:
            self.products += flop_registry[packet](*arguments, out_val=result)
        elif name in LOOKUPS:
            self.moved += 2 * sum(map(size_of, made))
        else:
            written = made if is_mutating else new
            self.moved += sum(map(size_of, given)) + sum(map(size_of, written))


def attention_flops(name: str, arguments: tuple[Any, ...]) -> int:
    """Return the FLOPs of attention among the tokens of each document, without a mask.

    Causal attention has half of them, and its kernels reach about half the speed of
    other matrix products.

    Args:
        name: Name of the operator.
        arguments: Its arguments. Those of a forward pass begin with queries, keys and
            values, those of a backward pass with a gradient; the first number is that
            of the tokens of the longest document.
    """
    is_backward = "backward" in name
    query, key, value = tensors_of(arguments)[is_backward : is_backward + 3]
    if query.dim() == 3:
        # [tokens, heads, size] of documents that are all as long as the longest.
        tokens, heads, size = query.shape
        longest = next(one for one in arguments if isinstance(one, int))
        pairs = heads * tokens * longest
    else:
        batch, heads, tokens, size = query.shape
        pairs = batch * heads * tokens * key.shape[2]
    products = BACKWARD_PRODUCTS if is_backward else PRODUCTS
    return products * pairs * (size + value.shape[-1])


def tensors_of(values: Any) -> list[torch.Tensor]:
    """Return the tensors among arguments or results."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def storage_of(tensor: torch.Tensor) -> int:
    """Return a number that tells the storage of a living tensor from others."""
    return id(tensor.untyped_storage())


def size_of(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor's values."""
    return tensor.numel() * tensor.element_size()
