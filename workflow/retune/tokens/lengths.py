"""The length of the sequences that a model gets."""

from typing import Literal

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError

# Number of tokens that `tokenize.sequence_length: auto` means, if the model allows as
# many.
LONGEST_AUTO_SEQUENCE = 2048


def resolve_length(
    key: str, wanted: int | Literal["auto"], facts: ModelFacts, longest_auto: int
) -> int:
    """Return a number of tokens per sequence that suits the model.

    Args:
        key: The setting, as messages name it.
        wanted: Value of the setting.
        facts: Facts of the model.
        longest_auto: Number of tokens that `auto` means, if the model allows as many.

    Raises:
        RetuneError: If it is longer than the model's context, or so long that a
            document's logits would depend on the others in its batch.
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
