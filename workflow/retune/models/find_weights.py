"""Finds out which tensors of a base model's files are which weights of the model."""

from collections.abc import Collection
from dataclasses import dataclass

from transformers import PreTrainedModel

from retune.artifacts.model_facts import StoredWeights
from retune.compat.weight_conversion import WeightConversion, is_ignored
from retune.models.skeleton import named_weights, tied_names


@dataclass(frozen=True)
class FoundWeights:
    """What the names of the stored tensors say.

    Attributes:
        groups: The tensors that the model uses; of a weight that is missing, none.
        ignored: Tensors that Transformers leaves out on purpose.
        missing: Weights that no tensor is for.
        unexpected: Tensors that are no weight of the model.
    """

    groups: tuple[StoredWeights, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def find_weights(model: PreTrainedModel, stored: Collection[str]) -> FoundWeights:
    """Return which stored tensors are which weights, by their names alone.

    Args:
        model: On the meta device.
        stored: Names of all tensors of the files.
    """
    conversion = WeightConversion(model)
    tied = tied_names(model)
    groups: list[StoredWeights] = []
    twins: list[StoredWeights] = []
    converted: dict[tuple[str, ...], list[str]] = {}
    ignored, unexpected = [], []
    for name in sorted(stored):
        weights, is_converted = conversion.place(name)
        if not weights:
            (ignored if is_ignored(model, name) else unexpected).append(name)
        elif is_converted:
            converted.setdefault(weights, []).append(name)
        else:
            twin = tied.get(weights[0])
            group = StoredWeights(stored=(name,), weights=(twin or weights[0],))
            (twins if twin else groups).append(group)
    groups += [
        StoredWeights(stored=tuple(names), weights=weights, is_converted=True)
        for weights, names in converted.items()
    ]
    groups += twins
    there = {weight for group in groups for weight in group.weights}
    missing = [name for name, _ in named_weights(model) if name not in there]
    return FoundWeights(
        tuple(groups), tuple(ignored), tuple(missing), tuple(unexpected)
    )
