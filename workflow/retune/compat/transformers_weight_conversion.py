"""How Transformers 5 turns the tensors of a file into a model's weights, and back.

The library keeps for each model family a list of renamings and conversions: the experts
of a Mixtral, a tensor each in the files, become one stacked weight in the model. It
applies them inside `from_pretrained` and `save_pretrained`; this file applies the same
lists to a few tensors at a time.

Uses `conversion_mapping`, `core_model_loading` and the attribute `_weight_conversions`
of a model. Without them, `fetch` cannot say which stored tensor is which weight, ZeRO-3
cannot stream a model into its shards, and `consolidate` cannot publish the tuned
weights under the names of the base model's files.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from copy import deepcopy

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)


class WeightConversion:
    """The renamings and conversions of one model."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Use the lists that Transformers has for a model's family.

        Args:
            model: The model on the meta device, of whose weights only the names and
                shapes count.
        """
        self._model = model
        self._weights = model.state_dict()
        self._transforms = get_model_conversion_mapping(model)
        self._renamings = [t for t in self._transforms if isinstance(t, WeightRenaming)]
        self._converters = [
            t for t in self._transforms if isinstance(t, WeightConverter)
        ]

    def place(self, stored: str) -> tuple[tuple[str, ...], bool]:
        """Return which weights a tensor of the files becomes, or becomes a part of.

        Args:
            stored: Name of the tensor in the files.

        Returns:
            Names of the weights in the model, none if it has no such weights; and
            whether they are computed from the tensor or equal to it.
        """
        name, pattern = self._rename(stored)
        if name not in self._weights:
            return (), False
        if pattern is None:
            return (name,), False
        first, *others = self._converter_of(pattern).target_patterns
        return (name, *(name.replace(first, other) for other in others)), True

    def convert(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights that the tensors of one conversion become.

        Args:
            tensors: Name in the files -> tensor, for all tensors for which `place`
                returns these weights. Tensors on the meta device give such weights.

        Raises:
            Exception: Whatever Transformers raises if the tensors do not fit together.
        """
        names = sorted(tensors, key=dot_natural_key)
        weight, pattern = self._rename(names[0])
        converter = deepcopy(self._converter_of(pattern))
        for name in names:
            _, pattern = self._rename(name)
            read: Future[torch.Tensor] = Future()
            read.set_result(tensors[name])
            # Each tensor has a pattern: it belongs to a conversion.
            converter.add_tensor(weight, name, pattern or "", read)
        made = converter.convert(weight, model=self._model, config=self._model.config)
        return {
            name: value[0] if isinstance(value, list) else value
            for name, value in made.items()
        }

    def revert(
        self, weights: Mapping[str, torch.Tensor], stored: Iterable[str]
    ) -> dict[str, torch.Tensor]:
        """Return the tensors of the files that became these weights.

        Args:
            weights: Name in the model -> weight, for all weights of one conversion.
            stored: Names of the tensors in the files.

        Raises:
            ValueError: If Transformers would give the tensors other names.
        """
        for name in stored:
            self._rename(name)
        # Only the transforms that are used to read the tensors are undone.
        used = [t for t in self._transforms if t.was_used()]
        vars(self._model)["_weight_conversions"] = used
        made = revert_weight_conversion(self._model, dict(weights))
        prefix = re.compile(rf"^{re.escape(self._model.base_model_prefix)}\.")
        bare = {prefix.sub("", name): name for name in made}
        found = {name: bare.get(prefix.sub("", name)) for name in stored}
        if None in found.values() or len(found) != len(made):
            raise ValueError(f"{sorted(made)} instead of {sorted(found)}")
        return {name: made[there].contiguous() for name, there in found.items()}

    def _rename(self, stored: str) -> tuple[str, str | None]:
        """Return a tensor's first weight, and the pattern of its conversion, if any."""
        prefix = self._model.base_model_prefix
        name, pattern = rename_source_key(
            stored, self._renamings, self._converters, prefix, self._weights
        )
        if name not in self._weights and stored in self._weights:
            return stored, None
        return name, pattern

    def _converter_of(self, pattern: str | None) -> WeightConverter:
        return next(c for c in self._converters if pattern in c.source_patterns)
