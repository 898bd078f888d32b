"""Adam's moments in a checkpoint, as bitsandbytes keeps them."""

from collections.abc import Iterator
from typing import Any


def moments_in(state: Any) -> Iterator[dict[str, Any]]:
    """Yield the tensors that bitsandbytes needs for each parameter, by name.

    Args:
        state: What `torch.load` read, or a part of it.
    """
    if isinstance(state, dict):
        if "state1" in state:
            yield state
        else:
            for value in state.values():
                yield from moments_in(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from moments_in(value)
