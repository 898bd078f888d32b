"""A model without weights: on the meta device it takes no memory."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


def build_skeleton(
    folder: Path,
    attn_implementation: str | None = None,
    dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """Return the causal language model of a folder's config.json, on the meta device.

    Args:
        folder: Folder in the Hugging Face layout.
        attn_implementation: Attention kernels; None: those that Transformers chooses.
        dtype: Dtype of the weights; None: that of config.json.

    Raises:
        Exception: Whatever Transformers raises if it can make no model of the folder.
    """
    options = {"attn_implementation": attn_implementation, "dtype": dtype}
    config = AutoConfig.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config,
            trust_remote_code=False,
            **{key: value for key, value in options.items() if value is not None},
        )
