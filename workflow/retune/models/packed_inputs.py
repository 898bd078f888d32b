"""What a model is given of a micro-batch so that no document sees another."""

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig

from retune.compat.transformers_attention import attention_kernels, is_flash_attention
from retune.models.packed_documents import PackedDocuments
from retune.models.varlen_attention import VARLEN

Array = np.ndarray | torch.Tensor


def packed_inputs(
    config: PreTrainedConfig,
    input_ids: Array,
    position_ids: Array,
    device: torch.device,
) -> dict[str, Any]:
    """Return the keyword arguments of the model's `forward`.

    Args:
        config: Configuration of a model that is loaded with its attention kernels.
        input_ids: Tokens, int64 [sequences, length], in main memory.
        position_ids: Position of each token in its document, likewise; a restart at 0
            begins a document.
        device: Device of the model.
    """
    # No attention mask and no cache: only then does transformers read document
    # boundaries off position_ids.
    inputs: dict[str, Any] = {"use_cache": False}
    if attention_kernels(config) == VARLEN:
        inputs["packed_documents"] = PackedDocuments.of(position_ids, device)
    if is_flash_attention(config):
        # Only in a single sequence does flash attention keep documents apart.
        input_ids, position_ids = (
            array.reshape(1, -1) for array in (input_ids, position_ids)
        )
    return inputs | {
        "input_ids": to_device(input_ids, device),
        "position_ids": to_device(position_ids, device),
    }


def to_device(values: Array, device: torch.device) -> torch.Tensor:
    """Return values as a tensor on the device.

    The host does not wait for the copy of a tensor in pinned memory.
    """
    return torch.as_tensor(values).to(device, non_blocking=True)
