"""Which tensors of a model's files Transformers leaves out on purpose."""

import re

from transformers import PreTrainedModel

# Masks that older versions stored, of GPT-2, GPT-J, GPT-Neo, GPT-NeoX and CodeGen.
MASKS = r"\.(attn|attention)\.(bias|masked_bias|causal_mask)$"


def is_ignored(model: PreTrainedModel, stored: str) -> bool:
    """Return whether a stored tensor is a mask, or rotary frequencies.

    Older versions stored these, and they are computed now. Uses
    `_keys_to_ignore_on_load_unexpected` of a model's class, and repeats rules that are
    code inside `from_pretrained`. Without them, `fetch` would refuse such models.
    """
    buffers = [name for name, _ in model.named_buffers()]
    patterns = {*(model._keys_to_ignore_on_load_unexpected or ()), MASKS}
    if any(name.endswith("rotary_emb.inv_freq") for name in buffers):
        patterns.add(r"rotary_emb\.inv_freq")
    if any(name.endswith("position_ids") for name in buffers):
        patterns.add(r"(^|\.)position_ids$")
    return any(re.search(pattern, stored) for pattern in patterns)
