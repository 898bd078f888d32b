"""The tuned weights as tensors of files: named, split and rounded as the base's are."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch

from retune.artifacts.model_facts import StoredWeights
from retune.errors import RetuneError
from retune.models.base_weights import BaseWeights
from retune.models.finite import is_finite

# Name -> what reads or computes that tensor.
Tensors = dict[str, Callable[[], torch.Tensor]]
# Name -> dtype, shape and sha256 of that tensor; what is computed here has no sha256.
Facts = dict[str, dict[str, Any]]


def published_tensors(
    base: BaseWeights, weights: Tensors, verified: Tensors, facts: Facts, dtype: str
) -> tuple[Tensors, Facts]:
    """Return the tensors to publish: the same names as in the base model's files.

    Args:
        base: The base model.
        weights: How to read each weight of the tuned model, by its name there.
        verified: The same; what these return is what was live.
        facts: What is known of these weights.
        dtype: Of the published weights; `auto`: each as in the base model's files.

    Returns:
        How to read each tensor, and what is known of it. Tensors of the base model's
        files that are no weights are published as they are.
    """
    tensors: Tensors = {}
    known: Facts = {}
    read_group = lru_cache(maxsize=1)(partial(as_stored, base, verified))
    for group in base.facts.weights:
        for name in group.stored:
            there = base.tensors[name]
            is_float = getattr(torch, there.dtype).is_floating_point
            wanted = dtype if is_float and dtype != "auto" else there.dtype
            known[name] = {"dtype": wanted, "shape": list(there.shape)}
            live = facts[group.weights[0]]
            if not group.is_converted and live["dtype"] == wanted:
                tensors[name] = weights[group.weights[0]]
                known[name] |= {key: live[key] for key in ("sha256",) if key in live}
            else:
                tensors[name] = partial(rounded, name, read_group, group, wanted)
    for name in base.facts.ignored:
        there = base.tensors[name]
        known[name] = {"dtype": there.dtype, "shape": list(there.shape)}
        tensors[name] = partial(base.read_stored, name)
    return tensors, known


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

    Raises:
        RetuneError: If that dtype does not reach as far as the weights do.
    """
    tensor = read_group(group)[name]
    published = tensor.to(getattr(torch, dtype))
    if not is_finite(published):
        raise RetuneError(
            f"consolidate.dtype: {name} has weights up to {tensor.abs().max():,.0f},"
            f" more than {dtype} holds; write bfloat16 or float32"
        )
    return published
