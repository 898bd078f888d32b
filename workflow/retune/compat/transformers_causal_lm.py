"""What a causal language model does between its last hidden states and its logits.

Every family has its own `forward`: it calls the base model, then the output head, and
some then scale the logits or cap them. This file finds out which, without the name of
any family, by running the `forward` around a base model and a head that only pass on
what they are given.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

# Products of the head for which the logits are looked at: small ones show the scale,
# huge ones the cap, and those between that there is nothing else.
SMALL, HUGE = 1e-3, 1e6
PROBES = (SMALL, HUGE, 0.0, 0.5, -0.5, 3.0, -3.0, 12.0, -12.0, 40.0, -90.0, 300.0)


class Outputs(tuple[torch.Tensor, ...]):
    """Outputs of a base model that has nothing but hidden states."""

    @property
    def last_hidden_state(self) -> torch.Tensor:
        """The hidden states."""
        return self[0]

    def __getattr__(self, name: str) -> None:
        """Return None for whatever else a base model may return."""


class GivenOutputs(nn.Module):
    """A base model that returns hidden states that it was made with."""

    def __init__(self, hidden: torch.Tensor) -> None:
        """Keep the hidden states."""
        super().__init__()
        self.hidden = hidden

    def forward(self, *arguments: Any, **options: Any) -> Outputs:
        """Return them, whatever the inputs."""
        return Outputs((self.hidden,))


def scale_and_softcap(model: PreTrainedModel) -> tuple[float, float | None] | None:
    """Return what a model multiplies its head's products by, and where it caps them.

    The cap c makes x to c * tanh(x / c). Uses that the head and the base model are
    attributes of the model. Without it, no family could be trained with
    `configure.chunked_cross_entropy`.

    Args:
        model: The model; its weights are not looked at and may be on the meta device.

    Returns:
        None if the head is no linear layer, or if the model does anything else.
    """
    head = model.get_output_embeddings()
    children = {child: name for name, child in model.named_children()}
    if type(head) is not nn.Linear or head not in children:
        return None
    # As many as the head has words: of some families' logits a part is cut off.
    repeats = -(-head.out_features // len(PROBES))
    products = torch.tensor(PROBES).repeat(repeats)[: head.out_features]
    if head.out_features < len(PROBES):
        return None
    inner = {
        model.base_model_prefix: GivenOutputs(products.view(1, 1, -1)),
        children[head]: nn.Identity(),
    }
    try:
        logits = call_with_children(model, inner).flatten()
    except Exception:  # whatever a family's code raises if it asks for more than this
        return None
    if logits.shape != products.shape:
        return None
    scale = float(logits[0] / SMALL)
    is_capped = abs(float(logits[1])) < scale * HUGE / 2
    softcap = round(float(logits[1]), 4) if is_capped else None
    # A scale that is written as 0.0625 is seen as 0.06249999.
    scale = float(f"{scale:.6g}")
    expected = products * scale
    if softcap is not None:
        expected = softcap * torch.tanh(expected / softcap)
    return (scale, softcap) if torch.allclose(logits, expected, rtol=1e-5) else None


def call_with_children(
    model: PreTrainedModel, others: dict[str, nn.Module]
) -> torch.Tensor:
    """Return the logits of one token when some children of a model are others."""
    own = {name: getattr(model, name) for name in others}
    try:
        for name, module in others.items():
            setattr(model, name, module)
        token = torch.zeros(1, 1, dtype=torch.int64)
        logits: torch.Tensor = model(input_ids=token, use_cache=False).logits
        return logits
    finally:
        for name, module in own.items():
            setattr(model, name, module)


def last_hidden_states(model: PreTrainedModel, inputs: dict[str, Any]) -> torch.Tensor:
    """Return what the model gives its head, [sequences, length, hidden size].

    Uses `base_model`, which is what `forward` of a causal language model calls first.
    """
    hidden: torch.Tensor = model.base_model(**inputs)[0]
    return hidden


Forward = Callable[..., Any]


def replace_forward(module: nn.Module, forward: Forward) -> None:
    """Have a module compute something else, also within an engine or under adapters.

    Uses that calling a module calls its attribute `forward`, which peft calls as well.
    """
    vars(module)["forward"] = forward
