"""AdamW with moments in 8 bits, by bitsandbytes."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from retune.compat.bitsandbytes_adamw import GroupedAdamW8bit
from retune.compat.deepspeed_parameters import whole_numel
from retune.engines.finite_steps import FiniteSteps
from retune.models.states_in_8_bits import parameters_in_8_bits

# On GPUs bitsandbytes counts the elements of a tensor in 32 bits, and ZeRO-1 and 2 join
# those of a parameter group into one tensor on each rank.
MOST_ELEMENTS = 2**30

Group = dict[str, Any]


class FiniteAdamW8bit(FiniteSteps, GroupedAdamW8bit):
    """AdamW in 8 bits that takes no step with gradients that are not finite."""


def groups_in_8_bits(model: nn.Module, groups: list[Group]) -> list[Group]:
    """Return parameter groups that each have 8 or 32 bits and are not too large.

    Args:
        model: The model of the parameters.
        groups: Parameter groups with options.
    """
    in_8_bits = {id(parameter) for parameter in parameters_in_8_bits(model)}
    return [
        {**group, "params": part, "optim_bits": bits}
        for group in groups
        for bits in (8, 32)
        for part in parts(
            p for p in group["params"] if (id(p) in in_8_bits) == (bits == 8)
        )
    ]


def parts(
    parameters: Iterable[nn.Parameter], most: int = MOST_ELEMENTS
) -> Iterator[list[nn.Parameter]]:
    """Yield parameters in as many lists as needed for none to be too large.

    Args:
        parameters: The parameters, whole or sharded.
        most: Elements of the whole parameters of a list; a larger one is by itself.
    """
    part: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        numel = whole_numel(parameter)
        if part and size + numel > most:
            yield part
            part, size = [], 0
        part.append(parameter)
        size += numel
    if part:
        yield part
