"""How many tokens in a row a model is given."""

from typing import Literal

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError


def resolve_length(
    key: str, wanted: int | Literal["auto"], facts: ModelFacts, longest_auto: int
) -> int:
    """Return a number of tokens that the model can be given.

    Args:
        key: The setting.
        wanted: Its value.
        facts: Of the model.
        longest_auto: What `auto` is, if the model can be given as many.

    Raises:
        RetuneError: If the model cannot be given that many, or if what it says of a
            document would then depend on the others in its batch.
    """
    limits = [facts.context_length, facts.batch_invariant_length]
    most = min((limit for limit in limits if limit), default=None)
    if wanted == "auto":
        return min(most or longest_auto, longest_auto)
    if facts.context_length and wanted > facts.context_length:
        raise RetuneError(
            f"{key}: {wanted} is longer than the model's context:"
            f" {facts.context_length} at most, or auto"
        )
    if most and wanted > most:
        raise RetuneError(
            f"{key}: {wanted}, but beyond {most} tokens this {facts.model_type} model"
            " computes a document otherwise, depending on what lies beside it in its"
            f" block or batch: {most} at most, or auto"
        )
    return wanted
