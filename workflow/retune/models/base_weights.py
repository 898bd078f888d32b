"""Reads a base model's weights by the names they have in the model, and back."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open

from retune.artifacts.model_facts import ModelFacts, StoredWeights
from retune.compat.weight_conversion import WeightConversion
from retune.models.safetensors_headers import StoredTensor, read_headers
from retune.models.skeleton import build_skeleton


class BaseWeights:
    """The weights of a folder that `fetch` wrote.

    Attributes:
        facts: Of the model.
        groups: Each weight's name -> the stored tensors that it is made of. A weight
            that is stored twice under tied names has the first.
    """

    def __init__(self, base: Path) -> None:
        """Read the headers of the files, and the facts."""
        self.facts = ModelFacts.read(base)
        self._base = base
        self.groups: dict[str, StoredWeights] = {}
        for group in self.facts.weights:
            for name in group.weights:
                self.groups.setdefault(name, group)

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """Every tensor of the files by its name there."""
        return read_headers(self._base)

    def read(self, name: str) -> torch.Tensor:
        """Return one weight, in the dtype in which it is stored."""
        return self.read_group(self.groups[name])[name]

    def read_group(self, group: StoredWeights) -> dict[str, torch.Tensor]:
        """Return the weights of one group by their names in the model."""
        tensors = {name: self.read_stored(name) for name in group.stored}
        if not group.is_converted:
            return {group.weights[0]: tensors[group.stored[0]]}
        return self._conversion.convert(tensors)

    def read_stored(self, name: str) -> torch.Tensor:
        """Return a tensor by its name in the files."""
        with safe_open(self.tensors[name].path, framework="pt") as file:
            return file.get_tensor(name)

    def as_stored(
        self, group: StoredWeights, weights: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return the tensors that the weights of one group are in the files."""
        if not group.is_converted:
            return {group.stored[0]: weights[group.weights[0]]}
        return self._conversion.revert(weights, group.stored)

    @cached_property
    def _conversion(self) -> WeightConversion:
        return WeightConversion(build_skeleton(self._base))
