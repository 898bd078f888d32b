"""Which families carry a state from token to token, beside attention."""

from transformers import PreTrainedModel


def carries_state(model: PreTrainedModel) -> bool:
    """Return whether the model is recurrent, such as Mamba, or has recurrent layers.

    Uses `_is_stateful` of a model's class. Without it, `fetch` would not refuse these
    families, whose state goes from one packed document into the next.
    """
    return model._is_stateful
