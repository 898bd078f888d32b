"""The grid of `gpu_planner.py`: strategies of small models, the most telling first.

A model is random weights in the shape of a known one; all trainings have one rank.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gpu_cases import COMMON, llama
from training_inputs import NO_DROPOUT, Setup

QWEN = llama(896, 4864, 24, 14, 2) | {"vocab_size": 151_936}
QWEN |= {"tie_word_embeddings": True}
LLAMA = llama(1024, 2816, 16, 16, 4) | {"vocab_size": 32_000}
# Name -> the model and the usual length. The Qwen is that of Qwen 2.5 0.5B; the Llama
# has 0.3 B parameters, GPT-2 0.1 B.
MODELS = {
    "grid-gpt2": Setup("gpt2", NO_DROPOUT, 1024, {}),
    "grid-llama": Setup("llama", LLAMA, 2048, {}),
    "grid-qwen2": Setup("qwen2", QWEN, 1024, {}),
}
# Nothing is compiled, and what a training has depends on no installed package.
PLAIN = {
    **COMMON,
    "precision": "bf16",
    "micro_batch_size": 4,
    "torch_compile": False,
    "use_liger_kernel": False,
    "attn_implementation": "varlen",
    "chunked_cross_entropy": True,
}
ALL, SELECTIVE = ({"activation_checkpointing": kind} for kind in (True, "selective"))
OPTIMIZER = {"offload_optimizer": "cpu"}
WHOLE_LOGITS = {"chunked_cross_entropy": False}
SDPA = {"attn_implementation": "sdpa"}
LIGER = {"use_liger_kernel": True}
FP32 = {"precision": "fp32", **SDPA}
# Micro-batches of a step, where nothing else is said.
PASSES = 2


def of(stage: int, micro: int, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return settings of a ZeRO stage and a micro-batch, and more of them.

    `passes` is the number of micro-batches of a step, `longer` the factor of the usual
    length.
    """
    settings: dict[str, Any] = {"zero_stage": stage, "micro_batch_size": micro}
    for part in parts:
        settings |= part
    return settings | more


# What is trained of each model. From the first offloading on the operator of DeepSpeed
# must have been compiled.
STRATEGIES = [
    of(1, 4),
    of(1, 4, ALL),
    of(2, 4),
    of(1, 16),
    of(3, 4),
    of(1, 4, SELECTIVE),
    of(1, 4, LIGER),
    of(1, 4, WHOLE_LOGITS),
    of(0, 4, FP32),
    of(1, 16, ALL),
    of(1, 4, passes=1),
    of(2, 8, longer=0.5),
    of(1, 4, SDPA),
    of(1, 16, LIGER),
    of(2, 8, SELECTIVE, WHOLE_LOGITS),
    of(2, 4, OPTIMIZER),
    of(3, 4, OPTIMIZER, offload_param="cpu"),
    of(3, 8, ALL),
    of(1, 2, longer=2),
    of(2, 8, ALL, passes=1),
    of(2, 4, FP32),
    of(1, 8, ALL, OPTIMIZER),
    of(3, 4, OPTIMIZER),
    of(1, 1, passes=4),
    of(1, 8, LIGER, ALL, WHOLE_LOGITS),
    of(2, 16, SELECTIVE, longer=0.5),
    of(3, 2, WHOLE_LOGITS, passes=1),
    of(1, 32, ALL, longer=0.5),
]


@dataclass(frozen=True)
class GridCase:
    """One training of the grid.

    Attributes:
        model: Name of the model.
        changed: Settings that differ from PLAIN, as `of` returns them.
        gpu_memory_gb: What the training may take of the GPU, GB; None: all.
        is_beyond: Whether it is predicted not to fit.
    """

    model: str
    changed: dict[str, Any]
    gpu_memory_gb: float | None = None
    is_beyond: bool = False

    @property
    def name(self) -> str:
        """What is special, for the table."""
        shown = ", ".join(f"{key}={value}" for key, value in self.changed.items())
        most = self.gpu_memory_gb
        return f"{shown} in {most:g} GB" if most else shown

    def setup(self, toy: bool) -> Setup:
        """Return the model and the length of this training."""
        setup = toy_setup(MODELS[self.model]) if toy else MODELS[self.model]
        return replace(
            setup,
            sequence_length=int(setup.sequence_length * self.changed.get("longer", 1)),
        )

    def section(self) -> dict[str, Any]:
        """Return the `configure` section."""
        settings = PLAIN | self.changed
        passes = settings.pop("passes", PASSES)
        settings.pop("longer", None)
        return settings | {"global_batch_size": passes * settings["micro_batch_size"]}


def grid_cases(toy: bool, only: str = "") -> list[GridCase]:
    """Return the trainings whose model and name a pattern finds, in their order."""
    cases = toy_cases() if toy else all_cases()
    return [case for case in cases if re.search(only, f"{case.model}: {case.name}")]


def all_cases() -> Iterator[GridCase]:
    """Yield each strategy of each model."""
    for changed in STRATEGIES:
        for model, setup in MODELS.items():
            # GPT-2 has no longer positions, and Liger no kernels for it.
            has_all = (
                changed.get("longer", 1) <= 1 and "use_liger_kernel" not in changed
            )
            if has_all or setup.model_type != "gpt2":
                yield GridCase(model, changed)


def toy_cases() -> Iterator[GridCase]:
    """Yield a few strategies that a CPU trains in no time, one of each model."""
    for (model, _), changed in zip(MODELS.items(), STRATEGIES, strict=False):
        yield GridCase(model, changed)


def toy_setup(setup: Setup) -> Setup:
    """Return the same in a size that a CPU trains in no time."""
    if setup.model_type == "gpt2":
        config = {"vocab_size": 512, "n_positions": 64, "n_embd": 64, "n_layer": 4}
        config |= {"n_head": 2, **NO_DROPOUT}
    else:
        config = llama(64, 128, 4, 4, 2) | {"vocab_size": 512}
    return replace(setup, config=config, sequence_length=64, accelerator="cpu")
