"""A causal language model with its tokenizer, as evaluation uses it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.placement import FILLED_AT_MOST, Placement
from retune.tokens.tokenizer import ModelTokenizer

Batch = TypeVar("Batch")
Result = TypeVar("Result")

OR_TOO_LARGE = ", or they exceed what float16 holds: evaluate.dtype: bfloat16"


@dataclass(frozen=True)
class LanguageModel(ABC):
    """A model, in this process or in others, its tokenizer, and where they came from.

    Attributes:
        tokenizer: Tokenizer of the model.
        folder: Folder that both are loaded from.
        facts: Facts of the base model, which hold for the tuned model, too.
        dtype: Data type of the weights, as PyTorch names it.
        device: Kind of device that computes the model, as PyTorch names it.
    """

    tokenizer: ModelTokenizer
    folder: Path
    facts: ModelFacts
    dtype: str
    device: str

    @property
    def prefix(self) -> int:
        """The token before a document's first one, as in training."""
        return self.facts.bos_token_id

    @property
    def vocab_size(self) -> int:
        """The number of logits per token."""
        return self.facts.vocab_size

    @abstractmethod
    def each(
        self,
        work: Callable[["LoadedModel", Batch], Result],
        batches: Sequence[Batch],
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number of each batch and what a function returns for it, as done.

        Args:
            work: Function of a module, which is called with the model and a batch.
            batches: The batches.
        """


@dataclass(frozen=True)
class LoadedModel(LanguageModel):
    """A model in this process.

    Attributes:
        model: The model, in evaluation mode.
    """

    model: PreTrainedModel

    def each(
        self,
        work: Callable[["LoadedModel", Batch], Result],
        batches: Sequence[Batch],
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number of each batch and its result, one after the other."""
        for number, batch in enumerate(batches):
            yield number, work(self, batch)

    def not_finite(self) -> RetuneError:
        """Return the error for logits that are NaN or infinite."""
        return RetuneError(
            f"{self.folder}: the model's logits are not finite (NaN or infinity): its"
            " weights are damaged, or its training diverged"
            f"{OR_TOO_LARGE if self.dtype == 'float16' else ''}"
        )


def load_model(
    folder: Path, facts: ModelFacts, placement: Placement | None = None
) -> LoadedModel:
    """Return the model of a Hugging Face folder.

    Args:
        folder: Folder of the model.
        facts: Facts of the base model.
        placement: Where it is computed, and in which data type; None: on the CPU, in
            float32.

    Raises:
        RetuneError: If one of the model's weights is missing, or it does not fit.
    """
    placement = placement or Placement()
    disable_progress_bar()
    try:
        # Transformers annotates the model alone, also where it returns a pair.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=getattr(torch, placement.dtype),
            output_loading_info=True,
            trust_remote_code=False,
            local_files_only=True,
            **device_map(placement.gpus),
        )
    except torch.OutOfMemoryError as error:
        raise RetuneError(
            f"{folder}: the model does not fit the free memory of {placement}; is"
            " another program there?"
        ) from error
    model, report = loaded
    if placement.gpus and {"cpu", "disk"} & set(model.hf_device_map.values()):
        raise RetuneError(
            f"{folder}: the model's layers do not all fit {placement}: run this step"
            " where GPUs are larger or more, or choose a smaller evaluate.dtype"
        )
    if missing := sorted(report["missing_keys"]):
        raise RetuneError(
            f"{folder}: {len(missing)} of the model's weights are not in its"
            f" safetensors (the first: {missing[0]}) and would be random"
        )
    return LoadedModel(
        ModelTokenizer.of(folder, facts),
        folder,
        facts,
        placement.dtype,
        placement.device,
        model.eval(),
    )


def device_map(gpus: Sequence[int]) -> dict[str, Any]:
    """Return the options with which Transformers loads a model onto GPUs.

    Each tensor goes there as it is read: main memory never holds the model.

    Args:
        gpus: Numbers of the GPUs; none: it stays on the CPU.
    """
    if not gpus:
        return {}
    if len(gpus) == 1:
        return {"device_map": {"": gpus[0]}}
    memory = {
        gpu: int(FILLED_AT_MOST * torch.cuda.get_device_properties(gpu).total_memory)
        for gpu in gpus
    }
    return {"device_map": "balanced", "max_memory": memory}
