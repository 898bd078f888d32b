"""The tuned weights as tensors of files: named, split and rounded as the base's are."""

from collections.abc import Callable
from functools import lru_cache, partial

import torch

from retune.artifacts.model_facts import StoredWeights
from retune.errors import RetuneError
from retune.models.base_weights import BaseWeights
from retune.models.finite_values import is_finite
from retune.models.tensor_spec import Expected, ExpectedTensor, Tensors


def published_tensors(
    base: BaseWeights, weights: Tensors, verified: Tensors, live: Expected, dtype: str
) -> tuple[Tensors, Expected]:
    """Return the tensors to publish: the same names as in the base model's files.

    Args:
        base: The base model.
        weights: Name in the model -> what reads that weight of the tuned model.
        verified: The same, but each tensor that is read was compared with its hash.
        live: Name in the model -> what that weight has to be.
        dtype: Dtype of the published weights; `auto`: each as in the base model's
            files.

    Returns:
        What reads or computes each tensor, and what it has to be. Tensors of the base
        model's files that are no weights are published as they are.
    """
    tensors: Tensors = {}
    expected: Expected = {}
    read_group = lru_cache(maxsize=1)(partial(as_stored, base, verified))
    for group in base.facts.weights:
        for name in group.stored:
            stored, weight = base.tensors[name], live[group.weights[0]]
            is_float = stored.torch_dtype.is_floating_point
            wanted = dtype if is_float and dtype != "auto" else stored.dtype
            if not group.is_converted and weight.dtype == wanted:
                tensors[name] = weights[group.weights[0]]
                sha256 = weight.sha256
            else:
                tensors[name] = partial(rounded, name, read_group, group, wanted)
                sha256 = None
            expected[name] = ExpectedTensor(wanted, stored.shape, sha256)
    for name in base.facts.ignored:
        stored = base.tensors[name]
        expected[name] = ExpectedTensor(stored.dtype, stored.shape)
        tensors[name] = partial(base.read_stored, name)
    return tensors, expected


def as_stored(
    base: BaseWeights, weights: Tensors, group: StoredWeights
) -> dict[str, torch.Tensor]:
    """Return the tensors of the files that the weights of one group become."""
    return base.as_stored(group, {name: weights[name]() for name in group.weights})


def rounded(
    name: str,
    read_group: Callable[[StoredWeights], dict[str, torch.Tensor]],
    group: StoredWeights,
    dtype: str,
) -> torch.Tensor:
    """Return a tensor in the dtype that is published.

    Args:
        name: Name of the tensor in the files.
        read_group: Returns the tensors of a group by their names in the files.
        group: The group that the tensor belongs to.
        dtype: Dtype that is published.

    Raises:
        RetuneError: If a weight is larger than that dtype can represent.
    """
    tensor = read_group(group)[name]
    published = tensor.to(getattr(torch, dtype))
    if not is_finite(published):
        raise RetuneError(
            f"consolidate.dtype: {name} has weights up to {tensor.abs().max():,.0f},"
            f" more than {dtype} holds; write bfloat16 or float32"
        )
    return published
