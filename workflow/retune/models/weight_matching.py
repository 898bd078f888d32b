"""Which tensors of a base model's files are which weights of the model."""

from collections.abc import Collection
from dataclasses import dataclass

from transformers import PreTrainedModel

from retune.artifacts.model_facts import StoredWeights
from retune.compat.transformers_ignored_tensors import is_ignored
from retune.compat.transformers_weight_conversion import WeightConversion
from retune.models.weight_names import named_weights, tied_names


@dataclass(frozen=True)
class MatchedWeights:
    """What the names of the stored tensors say.

    Attributes:
        groups: The tensors that the model uses, with the weights that they are; none
            for a weight that is missing.
        ignored: Names of the tensors that Transformers leaves out on purpose.
        missing: Names of the weights that no tensor is for.
        unexpected: Names of the tensors that are no weight of the model.
    """

    groups: tuple[StoredWeights, ...]
    ignored: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def match_weights(model: PreTrainedModel, stored: Collection[str]) -> MatchedWeights:
    """Return which stored tensors are which weights, by their names alone.

    Args:
        model: The model on the meta device.
        stored: Names of all tensors of the files.
    """
    conversion = WeightConversion(model)
    tied = tied_names(model)
    groups: list[StoredWeights] = []
    twins: list[StoredWeights] = []
    converted: dict[tuple[str, ...], list[str]] = {}
    ignored: list[str] = []
    unexpected: list[str] = []
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
    present = {weight for group in groups for weight in group.weights}
    missing = [name for name, _ in named_weights(model) if name not in present]
    return MatchedWeights(
        tuple(groups), tuple(ignored), tuple(missing), tuple(unexpected)
    )
