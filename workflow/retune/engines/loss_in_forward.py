"""Has a model compute the loss in its `forward`, in place of the logits."""

from functools import wraps
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from retune.artifacts.model_facts import OutputHead
from retune.compat.transformers_causal_lm import last_hidden_states, replace_forward
from retune.engines.chunked_loss import LossHead


def compute_loss_in_forward(model: PreTrainedModel, output_head: OutputHead) -> None:
    """Have a model return the sum of the losses where it is called with labels.

    Its `forward` takes two more arguments: `labels`, the token to predict at each
    trained place, int64 [trained], and `label_places`, the number of each trained token
    among all tokens, int64 [trained]. Without them it returns what it did before. No
    parameter gets another name.

    Args:
        model: The model, without its adapters.
        output_head: What the model does with its head's products.
    """
    head = model.get_output_embeddings()
    # `configure` plans it for no other head, neither for one with adapters.
    assert type(head) is nn.Linear
    loss_head = LossHead(head, output_head)
    model.set_output_embeddings(loss_head)
    original = model.forward

    @wraps(original)
    def forward(
        *arguments: Any,
        labels: torch.Tensor | None = None,
        label_places: torch.Tensor | None = None,
        **inputs: Any,
    ) -> Any:
        if label_places is None:
            return original(*arguments, labels=labels, **inputs)
        hidden = last_hidden_states(model, inputs)
        return loss_head(hidden, labels, label_places)

    replace_forward(model, forward)


def computes_loss(model: nn.Module) -> bool:
    """Return whether a model, with its adapters or without, has been made to do so."""
    return any(isinstance(module, LossHead) for module in model.modules())
