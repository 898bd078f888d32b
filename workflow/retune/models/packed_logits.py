"""The logits of packed documents, and the check that no document sees another."""

import deepspeed
import torch

from retune.compat.transformers_attention import is_flash_attention
from retune.errors import RetuneError
from retune.models.packing_check import sees_other_documents


def logits_of(
    engine: deepspeed.DeepSpeedEngine,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
) -> torch.Tensor:
    """Return the logits of packed sequences, [sequences, length, vocabulary].

    Args:
        engine: Engine around a model of `load_model`.
        input_ids: Tokens, int64 [sequences, length].
        position_ids: Position of each token in its document, int64 [sequences, length];
            a restart at 0 begins a document.
    """
    shape = input_ids.shape
    if is_flash_attention(engine.module.config):
        # Only in a single sequence does flash attention keep documents apart.
        input_ids, position_ids = input_ids.view(1, -1), position_ids.view(1, -1)
    # No attention mask and no cache: only then does transformers read document
    # boundaries off position_ids.
    logits = engine(
        input_ids=input_ids, position_ids=position_ids, use_cache=False
    ).logits
    return logits.view(*shape, -1)


def check_isolation(engine: deepspeed.DeepSpeedEngine) -> None:
    """Raise RetuneError if the model lets packed documents see each other.

    `fetch` has checked most families. Those of which it could make no small model are
    checked here for the first time.
    """

    def logits(input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        device = engine.device
        return logits_of(engine, input_ids.to(device), position_ids.to(device))

    engine.eval()
    leaks = sees_other_documents(logits)
    engine.train()
    if leaks:
        raise RetuneError(
            f"model: {engine.module.config.model_type} models let packed documents see"
            " each other in transformers; choose a model of another family"
        )
