"""The model that is trained, with its adapters and without weights, to be counted.

It is on the meta device, built once, and asked for all that a plan needs to know.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from retune.artifacts.model_facts import ModelFacts
from retune.models.adapters import wrap
from retune.models.four_bit_weights import num_parameters_in_4bit
from retune.models.skeleton import build_skeleton
from retune.models.states_in_8_bits import parameters_in_8_bits
from retune.planning.trained_sizes import TrainedSizes
from retune.settings import LoraSettings


@dataclass(frozen=True)
class TrainingSkeleton:
    """A model without weights.

    Attributes:
        base: The model without adapters.
        model: The same in peft's wrapper, or the model itself.
        facts: Facts of the model, with its adapters.
        num_4bit_parameters: Number of parameters that are held in 4 bits.
    """

    base: PreTrainedModel
    model: nn.Module
    facts: ModelFacts
    num_4bit_parameters: int

    @property
    def num_adapter_parameters(self) -> int:
        """Number of parameters of the adapters; 0 without."""
        return sum(map(nn.Parameter.numel, self.trained)) if self.has_adapters else 0

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained instead of the model."""
        return self.model is not self.base

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained, tied ones once."""
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def num_8bit_moments(self) -> int:
        """Number of parameters whose moments `adamw_8bit` keeps in 8 bits."""
        return sum(parameter.numel() for parameter in parameters_in_8_bits(self.model))

    @property
    def sizes(self) -> TrainedSizes:
        """Sizes of the parameters, the trained in the groups of `build_optimizer`."""
        matrices = tuple(p.numel() for p in self.trained if p.ndim > 1)
        others = tuple(p.numel() for p in self.trained if p.ndim <= 1)
        groups = tuple(group for group in (matrices, others) if group)
        frozen = (p for p in self.model.parameters() if not p.requires_grad)
        return TrainedSizes(groups, tuple(p.numel() for p in frozen))

    def copied(self) -> tuple[nn.Module, PreTrainedModel]:
        """Return a copy of the model, with its adapters and without, to be changed."""
        model, base = copy.deepcopy((self.model, self.base))
        return model, base


def build_training_skeleton(
    folder: Path, facts: ModelFacts, lora: LoraSettings | None
) -> TrainingSkeleton:
    """Return the model of a folder's config.json as it is trained.

    Args:
        folder: Folder of the base model; nothing but its config.json is read.
        facts: Facts of the base model.
        lora: The section `finetune.lora`.

    Raises:
        RetuneError: If peft or bitsandbytes is needed and not installed, or the model
            cannot have such adapters.
        Exception: Whatever Transformers raises if it can make no model of the folder.
    """
    base = build_skeleton(folder)
    if lora is None:
        return TrainingSkeleton(base, base, facts, 0)
    in_4bit = 0
    if lora.load_in_4bit:
        in_4bit = num_parameters_in_4bit(copy.deepcopy(base))
    head = type(base.get_output_embeddings())
    model = wrap(base, facts, lora)
    if type(base.get_output_embeddings()) is not head:
        facts = facts.model_copy(update={"output_head": None})
    return TrainingSkeleton(base, model, facts, in_4bit)
