"""The attention masks that Transformers computes for packed documents."""

from collections.abc import Iterable
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.masking_utils import (
    create_causal_mask,
    create_sliding_window_causal_mask,
)

# A kind of layer, as `layer_types` of a config has it -> what computes its mask.
MASKS = {
    "full_attention": create_causal_mask,
    "sliding_attention": create_sliding_window_causal_mask,
}


def packed_masks(
    kinds: Iterable[str],
    config: PreTrainedConfig,
    hidden: torch.Tensor,
    position_ids: torch.Tensor,
) -> dict[str, Any]:
    """Return the mask of each kind of layer, in the form that the kernels take.

    Uses the functions of `transformers.masking_utils`, as a model's own `forward` does.
    Without them, no stage of a pipeline can keep packed documents apart.

    Args:
        kinds: Some of the keys of `MASKS`.
        config: The model's configuration.
        hidden: Hidden states [micro-batch, sequence, hidden size].
        position_ids: int64 [micro-batch, sequence]; a restart at 0 begins a document.
    """
    # No attention mask and no cache: only then does transformers read document
    # boundaries off position_ids.
    return {
        kind: MASKS[kind](
            config=config,
            inputs_embeds=hidden,
            attention_mask=None,
            past_key_values=None,
            position_ids=position_ids,
        )
        for kind in kinds
    }
