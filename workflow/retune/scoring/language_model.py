"""A trained causal language model with its tokenizer, as evaluation loads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from retune.errors import RetuneError

TEXTS_PER_BATCH = 1000
LOCAL_AND_SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True)
class LanguageModel:
    """A model in evaluation mode, its tokenizer, and the folder they came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path

    @property
    def prefix(self) -> int:
        """The token before a document's first one: BOS or, without one, EOS."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if bos is None and eos is None:
            raise RetuneError(
                f"{self.folder / 'tokenizer_config.json'}: neither bos_token nor"
                " eos_token; one must precede a document's first token"
            )
        return eos if bos is None else bos

    @property
    def vocab_size(self) -> int:
        """The number of logits per token."""
        return self.model.config.get_text_config().vocab_size


def load_model(folder: Path) -> LanguageModel:
    """Return the float32 model of a Hugging Face folder, on the GPU if there is one."""
    disable_progress_bar()
    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        **LOCAL_AND_SAFE,
    )
    if missing := sorted(report["missing_keys"]):
        raise RetuneError(
            f"{folder}: {len(missing)} of the model's weights are not in its"
            f" safetensors (the first: {missing[0]}) and would be random"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LanguageModel(model.to(device).eval(), load_tokenizer(folder), folder)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a Hugging Face folder."""
    return AutoTokenizer.from_pretrained(folder, **LOCAL_AND_SAFE)


def context_of(folder: Path) -> int | None:
    """Return how many tokens a folder's model can attend to, None if unlimited."""
    config = AutoConfig.from_pretrained(folder, **LOCAL_AND_SAFE)
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> list[np.ndarray]:
    """Return each text's tokens, int32 [tokens], without special ones around them."""
    encoded: list[np.ndarray] = []
    for first in range(0, len(texts), TEXTS_PER_BATCH):
        batch = tokenizer(
            texts[first : first + TEXTS_PER_BATCH],
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
        )
        encoded += [np.array(ids, dtype=np.int32) for ids in batch["input_ids"]]
    return encoded
