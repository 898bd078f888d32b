"""What makes `fetch` refuse a base model: it would be trained as another than it is.

Each function returns what is wrong with the model, in words that go on after its name.
"""

import re
from collections.abc import Iterable
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel

from retune.artifacts.model_facts import StoredWeights
from retune.compat.transformers_stateful import carries_state
from retune.compat.transformers_weight_conversion import WeightConversion
from retune.models.finite_values import is_finite
from retune.models.stored_tensors import StoredTensor
from retune.models.weight_matching import MatchedWeights
from retune.models.weight_names import named_weights
from retune.terminal.progress import progress_bar

FLOATS = ("float64", "float32", "float16", "bfloat16")
# Number of weights or tensors that a message names.
MOST_NAMED = 3
# Keys of config.json that say that the weights are codes; older files have the second.
QUANTIZATION = ("quantization_config", "compression_config")


def problems_of_config(config: dict[str, Any]) -> list[str]:
    """Return what config.json alone says against training this model."""
    places = {"": config, "text_config.": config.get("text_config") or {}}
    return [
        f"is quantised ({prefix}{key} in config.json{method_of(values[key])}): its"
        " weights are codes, which cannot be trained; use an unquantised copy of the"
        " model"
        for prefix, values in places.items()
        for key in QUANTIZATION
        if isinstance(values, dict) and values.get(key)
    ]


def method_of(quantization: object) -> str:
    """Return `: fp8` and the like, if the quantisation names its method."""
    method = (
        quantization.get("quant_method") if isinstance(quantization, dict) else None
    )
    return f": {method}" if method else ""


def problems_of_family(model: PreTrainedModel) -> list[str]:
    """Return why packed documents would see each other in any model of this family."""
    kind = model.config.model_type
    if carries_state(model):
        return [
            f"is a {kind} model: these carry a state from one packed document into the"
            " next; choose a model of a family with attention alone"
        ]
    if "position_ids" not in signature(model.forward).parameters:
        return [
            f"is a {kind} model: these cannot be told where a packed document begins"
            " (no position_ids); choose a model of another family"
        ]
    return []


def problems_of_names(model: PreTrainedModel, found: MatchedWeights) -> list[str]:
    """Return which weights have no stored tensor, and which tensors are no weights."""
    classes = ", ".join(model.config.architectures or ())
    is_other = classes not in ("", type(model).__name__)
    written = f" The files are of {classes}." if is_other else ""
    problems = []
    if found.missing:
        problems.append(
            f"lacks {some(found.missing, 'weight')} of {type(model).__name__}, which"
            f" would be random.{written}"
        )
    if found.unexpected:
        problems.append(
            f"holds {some(found.unexpected, 'tensor')} that {type(model).__name__} has"
            f" no place for, and that would be lost.{written}"
        )
    return problems


def problems_of_tensors(
    model: PreTrainedModel,
    groups: Iterable[StoredWeights],
    tensors: dict[str, StoredTensor],
) -> list[str]:
    """Return which stored tensors have another dtype or shape than their weight.

    Args:
        model: The model on the meta device.
        groups: The stored tensors that are weights.
        tensors: Name in the files -> stored tensor.
    """
    codes = []
    shapes = []
    weights = dict(named_weights(model))
    conversion = WeightConversion(model)
    for group in groups:
        codes += [
            f"{name} ({tensors[name].dtype})"
            for name in group.stored
            if weights[group.weights[0]].is_floating_point()
            and tensors[name].dtype not in FLOATS
        ]
        shapes += wrong_shapes(group, weights, conversion, tensors)
    problems = []
    if codes:
        problems.append(
            f"holds {some(codes, 'tensor')} that are no floating-point numbers: it is"
            " quantised; use an unquantised copy of the model"
        )
    if shapes:
        problems.append(
            f"has {some(shapes, 'weight')} of another shape than config.json says"
        )
    return problems


def wrong_shapes(
    group: StoredWeights,
    weights: dict[str, torch.Tensor],
    conversion: WeightConversion,
    tensors: dict[str, StoredTensor],
) -> list[str]:
    """Return the weights of a group that have another shape in the model."""
    stored = {
        name: torch.empty(tensors[name].shape, device="meta") for name in group.stored
    }
    if not group.is_converted:
        made = {group.weights[0]: stored[group.stored[0]]}
    else:
        try:
            made = conversion.convert(stored)
        except Exception:  # whatever PyTorch says of tensors that do not fit together
            parts = f"{len(stored)} tensors such as {group.stored[0]}"
            return [f"{group.weights[0]} ({parts} do not make it)"]
    return [
        f"{name} ({list(made[name].shape)} instead of {list(weights[name].shape)})"
        for name in group.weights
        if made[name].shape != weights[name].shape
    ]


def problems_of_values(
    groups: Iterable[StoredWeights], tensors: dict[str, StoredTensor]
) -> list[str]:
    """Return which weights are not finite, and which tied ones are stored differently.

    All files are read, one tensor at a time.

    Args:
        groups: The stored tensors that are weights.
        tensors: Name in the files -> stored tensor.
    """
    by_weight: dict[str, list[str]] = {}
    not_finite = []
    groups = list(groups)
    total = sum(tensors[name].num_bytes for group in groups for name in group.stored)
    with progress_bar("fetch", total, "B", unit_scale=True) as bar:
        for group in groups:
            by_weight.setdefault(group.weights[0], []).append(group.stored[0])
            for name in group.stored:
                if not is_finite(tensors[name].read()):
                    not_finite.append(name)
                bar.update(tensors[name].num_bytes)
    problems = []
    if not_finite:
        problems.append(f"has {some(not_finite, 'weight')} with NaN or infinity")
    twins = [names for names in by_weight.values() if len(names) > 1]
    for first, *others in twins:
        for other in others:
            values = [tensors[name].read().double() for name in (first, other)]
            if not torch.equal(*values):
                problems.append(
                    f"holds two different tensors for one weight, {first} and {other}."
                    " If the second is an output head of its own, config.json needs"
                    " tie_word_embeddings: false; otherwise remove it from the files"
                )
    return problems


def some(names: Iterable[str], noun: str) -> str:
    """Return `5 weights (a, b, c, ...)`, in natural order."""
    ordered = sorted(names, key=natural)
    shown = ", ".join(ordered[:MOST_NAMED])
    more = ", ..." if len(ordered) > MOST_NAMED else ""
    return f"{len(ordered)} {noun}{'s' * (len(ordered) > 1)} ({shown}{more})"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts layer 2 before layer 10."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
    ]
