"""A causal language model with its tokenizer, as evaluation loads it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.tokens.tokenizer import ModelTokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A model in evaluation mode, its tokenizer, and the folder they came from.

    Attributes:
        model: Model in evaluation mode, float32.
        tokenizer: Tokenizer of the model.
        folder: Folder that both were loaded from.
        facts: Facts of the base model, which hold for the tuned model, too.
    """

    model: PreTrainedModel
    tokenizer: ModelTokenizer
    folder: Path
    facts: ModelFacts

    @property
    def prefix(self) -> int:
        """The token before a document's first one, as in training."""
        return self.facts.bos_token_id

    @property
    def vocab_size(self) -> int:
        """The number of logits per token."""
        return self.facts.vocab_size


def load_model(folder: Path, facts: ModelFacts, accelerator: str) -> LanguageModel:
    """Return the float32 model of a Hugging Face folder.

    Args:
        folder: Folder of the model.
        facts: Facts of the base model.
        accelerator: Setting `hardware.accelerator`: what the model computes on.

    Raises:
        RetuneError: If the accelerator or one of the model's weights is missing.
    """
    device = find_device(accelerator)
    disable_progress_bar()
    # Transformers annotates the model alone, also where it returns a pair.
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise RetuneError(
            f"{folder}: {len(missing)} of the model's weights are not in its"
            f" safetensors (the first: {missing[0]}) and would be random"
        )
    tokenizer = ModelTokenizer.of(folder, facts)
    return LanguageModel(model.to(device).eval(), tokenizer, folder, facts)


def find_device(accelerator: str) -> str:
    """Return PyTorch's name of the device that `hardware.accelerator` means here.

    Raises:
        RetuneError: If PyTorch sees no such device.
    """
    is_there = torch.cuda.is_available()
    if accelerator == "auto":
        return "cuda" if is_there else "cpu"
    if accelerator == "cuda" and not is_there:
        raise RetuneError(
            "hardware.accelerator: cuda, but PyTorch sees no GPU on this machine; run"
            " this step where there is one, or write cpu or auto"
        )
    return accelerator
