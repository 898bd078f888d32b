"""The weights of a base model, read by the names that they have in the model."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch

from retune.artifacts.model_facts import ModelFacts, StoredWeights
from retune.compat.transformers_weight_conversion import WeightConversion
from retune.models.skeleton import build_skeleton
from retune.models.stored_tensors import StoredTensor, list_stored_tensors


class BaseWeights:
    """The weights of a folder that `fetch` wrote.

    Attributes:
        facts: The facts of the model.
        groups: Name of each weight -> the stored tensors that it is made of, the first
            ones for a weight that is stored twice under tied names.
    """

    def __init__(self, base: Path) -> None:
        """Read the facts of the model in a folder."""
        self.facts = ModelFacts.read(base)
        self._base = base
        self.groups: dict[str, StoredWeights] = {}
        for group in self.facts.weights:
            for name in group.weights:
                self.groups.setdefault(name, group)

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """Every tensor of the files by its name there."""
        return list_stored_tensors(self._base)

    def read(self, name: str) -> torch.Tensor:
        """Return one weight, in the dtype in which it is stored."""
        return self.read_group(self.groups[name])[name]

    def read_group(self, group: StoredWeights) -> dict[str, torch.Tensor]:
        """Return the weights that the stored tensors of one group are, by name."""
        tensors = {name: self.read_stored(name) for name in group.stored}
        if not group.is_converted:
            return {group.weights[0]: tensors[group.stored[0]]}
        return self._conversion.convert(tensors)

    def read_stored(self, name: str) -> torch.Tensor:
        """Return a tensor by its name in the files."""
        return self.tensors[name].read()

    def as_stored(
        self, group: StoredWeights, weights: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return the tensors of the files that the weights of one group become."""
        if not group.is_converted:
            return {group.stored[0]: weights[group.weights[0]]}
        return self._conversion.revert(weights, group.stored)

    @cached_property
    def _conversion(self) -> WeightConversion:
        return WeightConversion(build_skeleton(self._base))
